from __future__ import annotations

import warnings

import pytest

from maskrt.cli.output import plain_warnings
from maskrt.runtime.errors import MaskRTWarning


def test_a_warning_of_ours_is_a_sentence_and_any_other_stays_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("always")
        before = warnings.showwarning
        with plain_warnings("maskrt predict"):
            warnings.warn("x.engine: no graph; expected one.", MaskRTWarning, stacklevel=1)
            warnings.warn("odd", UserWarning, stacklevel=1)
        assert warnings.showwarning is before
    assert [str(other.message) for other in others] == ["odd"]
    assert capsys.readouterr().err == "maskrt predict: x.engine: no graph; expected one.\n"
