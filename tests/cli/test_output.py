from __future__ import annotations

import logging
import warnings

import pytest

from maskrt.cli.output import plain_warnings, said_once
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


def test_what_two_splits_of_one_file_log_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert logging.lastResort is not None
    record = logging.LogRecord("maskrt", logging.WARNING, "", 0, "%d ids are text.", (9,), None)
    with said_once():
        logging.lastResort.handle(record)
        logging.lastResort.handle(record)
    assert capsys.readouterr().err == "9 ids are text.\n"
    logging.lastResort.handle(record)
    assert capsys.readouterr().err == "9 ids are text.\n"
