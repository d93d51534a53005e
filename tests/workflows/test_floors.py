"""`maskrt inspect --gpu`: the least time of a file on GPUs that are not here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maskrt.export.roofline.gpus import DATA_SHEETS
from maskrt.runtime.errors import InputError
from maskrt.workflows import floors_of_file


def test_the_floor_of_a_file_is_said_and_written(maskrt: Callable[..., Any], chain: Any) -> None:
    ran = maskrt("inspect", chain.onnx_fp16, "--gpu", "l4,a100", "--json")
    assert ran.code == 0, ran.err
    (file,) = ran.json["floors"]
    assert file["file"] == str(chain.onnx_fp16)
    for floor in file["gpus"]:
        assert floor["macs"] == ran.json["macs"]
        assert floor["floor_ms"] == pytest.approx(sum(node["ms"] for node in floor["nodes"]))
        assert floor["floor_ms"] == pytest.approx(sum(row["ms"] for row in floor["by_operator"]))
        assert floor["compute_ms"] < floor["floor_ms"] < floor["uncached_ms"]
        assert floor["kernels"] == len(floor["nodes"])
    l4, a100 = file["gpus"]
    assert l4["floor_ms"] > a100["floor_ms"]
    text = " ".join(ran.out.split())
    assert "A floor, not a measurement" in text
    assert all(gpu["gpu"]["source"] in text for gpu in file["gpus"])
    assert "Its longest kernels" in text


def test_half_needs_less_than_full_and_plugins_no_more_than_bodies(chain: Any) -> None:
    (full,), (half,) = (floors_of_file(path, "l4") for path in (chain.onnx, chain.onnx_fp16))
    assert half.floors[0].ms < full.floors[0].ms
    (tf32,) = floors_of_file(chain.onnx, "l4", tf32=True)
    assert tf32.floors[0].compute_ms == pytest.approx(full.floors[0].compute_ms * 30.3 / 60)
    (plugin,) = floors_of_file(chain.onnx_fp16, "l4", "plugin")
    assert plugin.floors[0].compute_ms < half.floors[0].compute_ms
    assert "operators are counted as plugins" in plugin.tables[0].notes[0]
    assert len(plugin.floors[0].nodes) < len(half.floors[0].nodes)


def test_figures_of_ones_own_stand_in(chain: Any, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    rows = DATA_SHEETS.read_text(encoding="utf-8").partition("\nl4:")
    mine.write_text("l4:" + rows[2].partition("\na100:")[0].replace("l2_mib: 48", "l2_mib: 0"))
    (file,) = floors_of_file(chain.onnx, f"l4,{mine}")
    shipped, own = file.floors
    assert own.ms == own.uncached_ms == shipped.uncached_ms > shipped.ms


def test_what_has_no_shapes_is_refused_with_what_to_do(chain: Any) -> None:
    with pytest.raises(InputError, match=r"--gpu with a \.engine file found; .* was built from"):
        floors_of_file(chain.engine, "l4")
    with pytest.raises(InputError, match=r"expected an ONNX file.* maskrt export .*safetensors"):
        floors_of_file(chain.checkpoint, "l4")
    with pytest.raises(InputError, match=r"GPU 'gtx': not known; expected t4, orin,"):
        floors_of_file(chain.onnx, "gtx")
