import pytest

from maskrt.runtime.errors import GateError, InputError, first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n a cause \nand where it was"), "a cause"),
        (RuntimeError("x" * 400), "x" * 300),
        (KeyError(), "KeyError"),
    ],
)
def test_another_librarys_words_become_one_line(error: Exception, line: str) -> None:
    assert first_line(error) == line


def test_only_a_failed_gate_leaves_with_1() -> None:
    assert (GateError.exit_code, InputError.exit_code) == (1, 2)
