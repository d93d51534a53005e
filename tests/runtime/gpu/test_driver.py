"""A driver that is older than cuda-python, or none: what CUDA says, and what we make of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from maskrt.engines.doctor import diagnose
from maskrt.runtime.errors import SessionError
from maskrt.runtime.gpu import cuda


def driver(supported: int) -> Any:
    """The runtime's answers over a driver for CUDA `supported`, e.g. 12080; 0: no driver."""
    return SimpleNamespace(
        cudaGetDeviceCount=lambda: (35, 0), cudaDriverGetVersion=lambda: (0, supported)
    )


@pytest.mark.parametrize(
    ("supported", "version", "found", "advice"),
    [
        (
            12080,
            "13.4.4",
            "the NVIDIA driver runs CUDA 12.8 at most, and cuda-python 13.4.4 needs 13",
            "Install NVIDIA driver 580 or later, or run: pip install 'cuda-python<13'",
        ),
        (11040, "12.9.10", "runs CUDA 11.4 at most", "Install NVIDIA driver 525 or later"),
        (0, "13.4.4", "no NVIDIA driver is installed", "on a machine with an NVIDIA GPU"),
    ],
)
def test_an_old_driver_is_not_called_a_missing_gpu(
    supported: int, version: str, found: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "load_cuda", lambda: driver(supported))
    monkeypatch.setattr(cuda, "bindings_version", lambda: version)
    assert found in str(cuda.missing_device())
    assert cuda.device_info() is None
    with pytest.raises(SessionError) as refused:
        cuda.require_device("x.engine")
    assert found in str(refused.value)
    assert advice in str(refused.value)
    (finding,) = (each for each in diagnose() if each.name == "NVIDIA GPU")
    assert found in finding.found
    assert advice in finding.fix
