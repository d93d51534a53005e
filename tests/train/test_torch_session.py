"""A checkpoint opened before a fork: `gunicorn --preload`, multiprocessing's "fork"."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maskrt.runtime.errors import SessionError
from maskrt.train.torch_session import TorchSession

FORKS = """if True:
    import os, signal, sys
    import numpy as np
    import maskrt, torch
    model = maskrt.load(sys.argv[1])
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    (before,) = model.predict([picture])
    child = os.fork()
    if not child:
        signal.alarm(20)  # where it hangs, it dies
        (after,) = model.predict([picture])
        own = maskrt.load(sys.argv[1]).predict([picture])[0]
        same = [np.allclose(before.scores, found.scores, atol=1e-5) for found in (after, own)]
        os._exit(0 if all(same) and torch.get_num_threads() == 1 else 1)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_an_open_checkpoint_predicts_in_a_fork(chain: Any) -> None:
    words = [sys.executable, "-W", "ignore", "-c", FORKS, str(chain.checkpoint)]
    assert subprocess.run(words, check=False, timeout=120).returncode == 0


def test_one_on_a_gpu_refuses_to(chain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with TorchSession(Path(chain.checkpoint), device="cpu") as session:
        batch, height, width, _ = session.contract.inputs[0].shape
        images = np.zeros((batch, height, width, 3), np.uint8)
        sizes = np.full((batch, 2), 16, np.int32)
        monkeypatch.setattr(session, "_torch_device", torch.device("cuda:0"))
        parent = os.getpid()
        monkeypatch.setattr("os.getpid", lambda: parent + 1)
        with pytest.raises(SessionError, match=r"opened on cuda:0 .* does not survive a fork"):
            session.run(images, sizes)


@pytest.fixture
def switches() -> Iterator[tuple[Any, Any]]:
    """What lets torch multiply FP32 in TF32, both on."""
    found = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [switch.allow_tf32 for switch in found]
    for switch in found:
        switch.allow_tf32 = True
    yield found
    for switch, value in zip(found, before, strict=True):
        switch.allow_tf32 = value


def test_fp32_on_a_gpu_is_not_tf32(
    chain: Any, switches: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch leaves it on for convolutions; on Ampere and later that is seen."""
    TorchSession(Path(chain.checkpoint), device="cpu").close()
    assert all(switch.allow_tf32 for switch in switches)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, _: module)
    TorchSession(Path(chain.checkpoint)).close()
    assert not any(switch.allow_tf32 for switch in switches)
