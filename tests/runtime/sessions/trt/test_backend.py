"""What an engine's rows are called."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from maskrt.runtime.sessions.trt.session import _backend
from maskrt.runtime.sidecar import read_sidecar


@pytest.mark.parametrize(
    ("precision", "tf32", "label"),
    [
        ("fp32", False, "tensorrt"),
        ("fp32", True, "tensorrt-tf32"),
        ("fp16", True, "tensorrt"),  # its FP32 islands are no row of their own
    ],
)
def test_fp32_that_is_multiplied_in_tf32_is_called_so(
    precision: Any, tf32: bool, label: str, write_engine: Any
) -> None:
    path: Path = write_engine(runtime="tensorrt", options={"tf32": tf32})
    sidecar = read_sidecar(path)
    contract = dataclasses.replace(sidecar.contract, precision=precision)
    backend = _backend(dataclasses.replace(sidecar, contract=contract))
    assert (backend.label, backend.precision) == (label, precision)
