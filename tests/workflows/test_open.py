"""`maskrt.load`, the front door: files of every kind, sessions, options."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import maskrt
from maskrt.runtime.sessions.open import ModelRef
from maskrt.runtime.sessions.options import SessionOptions
from maskrt.runtime.sessions.ort_session import OrtSession
from maskrt.workflows.deployment import export_checkpoint
from maskrt.workflows.inspection import inspect_file
from maskrt.workflows.open import open_model
from maskrt.workflows.training import new_checkpoint


def threads_of(predictor: maskrt.Predictor) -> int:
    assert isinstance(predictor.session, OrtSession)
    options = predictor.session._session.get_session_options()
    return int(options.intra_op_num_threads)


def test_options_are_arguments_or_stand_in_the_name(chain: Any) -> None:
    ways = [
        maskrt.load(chain.onnx, threads=3),
        maskrt.load(chain.onnx, "onnxruntime-cpu", threads=3),
        maskrt.load(f"{chain.onnx}@onnxruntime-cpu,threads=3"),
        maskrt.load(f"{chain.onnx}@onnxruntime-cpu", threads=3),
        maskrt.load(f"{chain.onnx}@threads=3"),
        open_model(ModelRef(chain.onnx, None, SessionOptions(threads=3))),
    ]
    for predictor in ways:
        with predictor:
            assert threads_of(predictor) == 3


def test_options_in_two_places_are_refused(chain: Any) -> None:
    with pytest.raises(maskrt.InputError, match=r"@threads=3: options device=cpu found beside it"):
        maskrt.load(f"{chain.onnx}@threads=3", device="cpu")


def test_a_checkpoint_takes_a_device_and_leaves_threads_to_the_process(chain: Any) -> None:
    with maskrt.load(chain.checkpoint, "torch", device="cpu") as predictor:
        assert str(predictor.session.backend) == "torch-cpu"
    with pytest.raises(maskrt.InputError, match="option threads found; this session takes device"):
        maskrt.load(chain.checkpoint, threads=2)
    with pytest.raises(maskrt.runtime.SessionError, match=r"torch sees \d+ GPUs; expected cuda:99"):
        maskrt.load(chain.checkpoint, device="cuda:99")
    with pytest.raises(maskrt.runtime.SessionError, match="FP16 on CUDA only"):
        maskrt.load(chain.checkpoint, "torch-fp16", device="cpu")


def test_names_with_an_at_sign_are_files(chain: Any, tmp_path: Path) -> None:
    odd = tmp_path / "a@b.onnx"
    odd.write_bytes(chain.onnx.read_bytes())
    with maskrt.load(odd) as predictor:
        assert predictor.contract.variant


def test_shipped_checkpoints_open_by_name_wherever_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "lsc_mask_rcnn_tiny"
    for model in (name, f"{name}@torch", f"{name}@torch,device=cpu"):
        with maskrt.load(model) as predictor:
            assert predictor.contract.variant == name
    assert inspect_file(Path(name)).path.name == f"{name}.safetensors"
    (report,) = export_checkpoint(Path("fastmask_tiny"), tmp_path / "a.onnx")
    assert report.contract.variant == "fastmask_tiny"
    new_checkpoint("fastmask_tiny", tmp_path / "b.safetensors", backbone=Path("fastmask_tiny"))
    Path(name).write_text("")  # a file of the user's own comes first
    with pytest.raises(maskrt.InputError, match=f"^{name}: no suffix"):
        maskrt.load(name)


@pytest.mark.parametrize("look", [maskrt.load, inspect_file])
def test_a_path_without_suffix_is_told_all_that_could_be_meant(look: Any, tmp_path: Path) -> None:
    kinds = r"\.safetensors, \.onnx, \.engine, .* bundle, .* fastmask_tiny"
    wanted = rf"nothing: no suffix; expected .* {kinds}"
    with pytest.raises(maskrt.InputError, match=wanted):
        look(tmp_path / "nothing")
    with pytest.raises(maskrt.InputError, match=r"\.safetensors or \.onnx or \.engine"):
        look(tmp_path / "nothing.pt")


def test_the_front_door_loads_nothing_until_it_is_asked() -> None:
    code = """
import sys
import maskrt
assert not [name for name in sys.modules if name.startswith("maskrt.")], sys.modules
assert set(maskrt.__all__) <= set(dir(maskrt))
assert "numpy" not in sys.modules
try:
    maskrt.lode
except AttributeError as err:
    print(err)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "module 'maskrt' has no attribute 'lode'\n"), (
        done.stderr
    )
