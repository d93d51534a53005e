"""Class names out of a word, a list or COCO annotations; `detectron2/test_recipe.py` uses them."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrt.runtime.errors import ConfigError, InputError
from maskrt.train.weights.class_names import class_names_from

BAD = {
    "empty": (b"\n \n", ".txt", r"names=\[\]; expected a list of text with at least 1"),
    "of another encoding": (b"caf\xe9\n", ".txt", "expected a class name a line, in UTF-8"),
    "large": (b"a\n" * (1 << 17) + b"a", ".txt", "expected at most 262144"),
    "with a control character": (b"a\x07b\n", ".names", "expected a list of text"),
    "no JSON": (b"[", ".json", "JSON"),
}


@pytest.mark.parametrize(("data", "suffix", "sentence"), BAD.values(), ids=BAD)
def test_a_list_that_is_none_is_refused(
    tmp_path: Path, data: bytes, suffix: str, sentence: str
) -> None:
    path = tmp_path / f"names{suffix}"
    path.write_bytes(data)
    with pytest.raises((InputError, ConfigError), match=sentence):
        class_names_from(str(path))


def test_a_list_of_windows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "names.TXT"
    path.write_bytes("\ufeffcat\r\nguide dog\r\n".encode())
    assert class_names_from(str(path)) == ("cat", "guide dog")


def test_one_word_is_one_class() -> None:
    assert class_names_from("cat") == ("cat",)
    assert class_names_from("a.txt,b") == ("a.txt", "b")
