"""What runs inside each environment, in this one; the environments themselves need the network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from maskrt.runtime.pictures.noise import noise_batch
from maskrt.runtime.sessions.ort_session import OrtSession
from maskrt.tools.try_runtimes import INSIDE, NETWORKS, NEWER_FILE, _compare, main, titles_and_rows


@pytest.fixture
def files(chain: Any, tmp_path: Path) -> Path:
    """The last network's file is broken; the one with the newer IR version is of a far future."""
    with OrtSession(chain.onnx, "cpu") as session:
        images, sizes = noise_batch(session.contract)
    for name in NETWORKS:
        shutil.copy(chain.onnx, tmp_path / f"{name}.onnx")
        np.savez(tmp_path / f"{name}.npz", images=images[None], sizes=sizes[None])
    (tmp_path / f"{NETWORKS[-1]}.onnx").write_bytes(b"broken")
    future = onnx.load(chain.onnx)
    future.ir_version = 1000
    onnx.save(future, tmp_path / NEWER_FILE)
    return tmp_path


def test_files_run_and_are_compared_and_what_does_not_open_is_told(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for version in ("1.0", "2.0"):
        (files / f"outputs-{version}").mkdir()
        assert main([INSIDE, str(files), str(files / f"outputs-{version}")]) == 0
        told = json.loads(capsys.readouterr().out)
        assert [*told["failures"]] == [NETWORKS[-1]]
        assert told["opens_ir_10"] is False
    changed = files / "outputs-1.0" / f"{NETWORKS[0]}.npz"
    values = dict(np.load(changed))
    values["scores"][0, 0, 0] += 0.25
    np.savez(changed, **values)
    rows: list[dict[str, Any]] = [{"onnxruntime": "1.0"}, {"onnxruntime": "2.0"}]
    _compare(rows, files)
    assert rows[0]["differences"] == {NETWORKS[0]: pytest.approx(0.25), NETWORKS[1]: 0.0}
    assert rows[1]["differences"] == {NETWORKS[0]: 0.0, NETWORKS[1]: 0.0}
    found = [{**row, **told, "python": "3.10"} for row in rows]
    titles, cells = titles_and_rows(found)
    assert titles.startswith(f"ONNX Runtime | Python | {' | '.join(sorted(NETWORKS))} | ")
    assert cells[0] == ["1.0", "3.10", "does not open", "2.5e-01", "equal", "is refused"]
