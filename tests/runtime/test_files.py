"""Names that are long, too long, or lead in a circle."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrt.runtime.errors import InputError
from maskrt.runtime.files import require_file, write_text


@pytest.mark.parametrize("letter", ["x", "\N{HIRAGANA LETTER A}"])
def test_any_name_that_the_file_system_takes_can_be_written(letter: str, tmp_path: Path) -> None:
    final = tmp_path / (letter * (250 // len(letter.encode())) + ".txt")
    write_text(final, "whole")
    assert [path.name for path in tmp_path.iterdir()] == [final.name]
    assert final.read_text() == "whole"


def test_a_name_that_it_does_not_take_is_said_in_short(tmp_path: Path) -> None:
    final = tmp_path / ("x" * 5000 + ".onnx")
    with pytest.raises(
        InputError, match=r"\.\.\.: .*File name too long.* Choose another name"
    ) as err:
        write_text(final, "")
    assert len(str(err.value)) < 300
    with pytest.raises(InputError, match="no such file"):
        require_file(final, "a model", (".onnx",))


def test_a_folder_that_links_to_itself_is_named(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(InputError, match=r"loop/a\.txt: could not be written .*another name"):
        write_text(loop / "a.txt", "")
