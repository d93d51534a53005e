"""The first tensor that differs between two graphs, on graphs of a few nodes and by the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from maskrt.export.first_difference import first_difference
from maskrt.runtime.errors import InputError


@pytest.fixture
def changed(chain: Any, tmp_path: Path) -> Any:
    """Writes the chain's network again, a stored tensor changed in place by a function."""

    def write(change: Any) -> tuple[Path, str]:
        model = onnx.load(chain.onnx)
        weights = [t for t in model.graph.initializer if len(t.dims) == 4]
        chosen = weights[len(weights) // 2]
        values = onnx.numpy_helper.to_array(chosen)
        chosen.CopyFrom(onnx.numpy_helper.from_array(change(values), chosen.name))
        onnx.save(model, tmp_path / "changed.onnx")
        (reader,) = [node for node in model.graph.node if chosen.name in node.input]
        return tmp_path / "changed.onnx", reader.output[0]

    return write


PICTURE = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)


def test_the_layer_whose_weights_were_changed_is_named(chain: Any, changed: Any) -> None:
    path, tensor = changed(lambda values: values * np.float32(1.5))
    found = first_difference(chain.onnx, path, PICTURE)
    assert found.tensor == tensor
    assert found.difference > found.tolerance == 1e-3
    assert f"{found.compared - 1} before it agree" in str(found)


def test_rounding_below_the_tolerance_is_no_difference(chain: Any, changed: Any) -> None:
    path, _ = changed(lambda values: values * np.float32(1 + 1e-6))
    found = first_difference(chain.onnx, path, PICTURE)
    assert (found.tensor, found.compared > 20) == (None, True)
    assert "none of" in str(found)


def test_an_fp16_file_is_compared_as_it_would_round(chain: Any) -> None:
    found = first_difference(chain.onnx, chain.onnx_fp16, PICTURE)
    assert found.tolerance == 2e-2
    assert found.compared > 20


def test_eval_explains(maskrt: Any, chain: Any, changed: Any, tmp_path: Path) -> None:
    path, tensor = changed(lambda values: -values)
    words = ("--data", chain.data, "--first", 2, "--against", chain.onnx, "--json")
    ran = maskrt("eval", path, *words, "--explain", tmp_path / "why")
    assert ran.code in (0, 1), ran.err
    found = ran.json["explanation"]
    assert tensor in found["graphs"]
    assert all(Path(picture).is_file() for picture in found["pictures"])
    alone = maskrt("eval", path, "--data", chain.data, "--explain", tmp_path / "why")
    assert (alone.code, "without --against" in alone.err) == (2, True)


def test_another_canvas_is_refused(chain: Any, tmp_path: Path) -> None:
    model = onnx.load(chain.onnx)
    (entry,) = (e for e in model.metadata_props if '"canvas_hw"' in e.value)
    contract = json.loads(entry.value)
    contract["canvas_hw"][0] += 32
    contract["inputs"][0]["shape"][1] += 32
    entry.value = json.dumps(contract)
    onnx.save(model, tmp_path / "taller.onnx")
    with pytest.raises(InputError, match="one canvas and batch"):
        first_difference(chain.onnx, tmp_path / "taller.onnx", PICTURE)
