"""`maskrt bench` beyond one table: batches, streams, an earlier run, floors, placement, advice."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from maskrt.eval import Candidate
from maskrt.runtime.gpu.cuda import missing_device
from maskrt.runtime.sessions.interface import Backend
from maskrt.runtime.sessions.open import ModelRef, model_from_text
from maskrt.runtime.sessions.openvino_session import openvino_core
from maskrt.runtime.sessions.ort_module import provider_trouble
from maskrt.runtime.sessions.ort_providers import CUDA
from maskrt.workflows.latency.bench import _open
from maskrt.workflows.latency.floor import (
    CHAINS,
    Layers,
    chain_model,
    int8_chain_model,
    probes_for,
    works_of,
)

Run = Callable[..., Any]
no_gpu = pytest.mark.skipif(missing_device() is None, reason="this machine has a GPU")


def rows(ran: Any) -> dict[str, Any]:
    return {row["name"]: row for row in ran.json["backends"]}


def test_a_checkpoint_is_exported_at_every_batch(maskrt: Run, chain: Any, tmp_path: Path) -> None:
    page = tmp_path / "bench.html"
    ran = maskrt(
        *("bench", chain.checkpoint, chain.onnx, "--batch", "2,1", "--samples", 10),
        *("--html", page, "--json"),
    )
    assert ran.code == 0, ran.err
    found = rows(ran)
    assert {name: row["batch"] for name, row in found.items()} == {
        "net-b1.onnx": 1,
        "net-b2.onnx": 2,
        "net.onnx": 1,
    }
    assert found["net-b2.onnx"]["speedups"] == {}
    assert set(found["net.onnx"]["speedups"]) == {"model", "pipeline"}
    text = page.read_text()
    for title in ("Latency", "Latency, batch 2", "Per picture, by batch", "Physical floor"):
        assert f"<h2>{title}</h2>" in text
        assert f"### {title}\n" in page.with_suffix(".md").read_text()
    assert ran.out.count("No NVIDIA GPU here") == int(missing_device() is not None)


def test_a_file_of_another_batch_says_how_to_export_it(maskrt: Run, chain: Any) -> None:
    ran = maskrt("bench", chain.onnx, "--batch", "2,4", "--samples", 1)
    assert ran.code == 2
    assert "the file's batch is fixed at 1; expected one of --batch 2, 4" in ran.err
    assert "maskrt export CKPT -o net-b2.onnx --batch 2" in ran.err


@pytest.mark.parametrize("batches", ["0", "1,,2", "two", ""])
def test_batches_are_whole_numbers(maskrt: Run, chain: Any, batches: str) -> None:
    ran = maskrt("bench", chain.onnx, "--batch", batches)
    assert ran.code == 2
    assert "is not batch sizes like 1,2,4,8" in ran.err


def test_a_session_behind_a_checkpoint_must_open_what_is_exported(maskrt: Run, chain: Any) -> None:
    ran = maskrt("bench", f"{chain.checkpoint}@torch", "--batch", "1", "--samples", 1)
    assert ran.code == 2
    assert "unknown session 'torch'" in ran.err


def test_streams_stand_beside_one_stream(maskrt: Run, chain: Any) -> None:
    ran = maskrt("bench", chain.onnx, "--streams", 3, "--samples", 12, "--json")
    assert ran.code == 0, ran.err
    loads = ran.json["details"]["throughput"]
    assert [load["streams"] for load in loads] == [1, 3]
    for load in loads:  # one turn of 4 calls per stream
        rate = load["pictures_per_s"]
        assert rate["value"] > 0
        assert (rate["low"], rate["turns_missing"]) == (None, 9)
        assert np.size(load["samples_ms"]) == load["summary"]["samples"] >= 12
    assert "Throughput" in ran.out


def test_an_engine_gets_a_context_for_each_stream_and_keeps_its_other_options(
    chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row is called "cuda_graph=off": it must not be run with the graph on."""
    opened: list[ModelRef] = []

    def open_model(model: ModelRef) -> Any:
        opened.append(model)
        return contextlib.nullcontext()

    monkeypatch.setattr("maskrt.workflows.latency.bench.open_model", open_model)
    asked = model_from_text(f"{chain.engine}@tensorrt,cuda_graph=off")
    with contextlib.ExitStack() as stack:
        assert _open(asked, 3, stack).candidate.name == "net16.engine@tensorrt,cuda_graph=off"
    (model,) = opened
    assert (model.options.contexts, model.options.cuda_graph) == (3, False)


@pytest.mark.parametrize("streams", [1, 0, -2])
def test_a_single_stream_is_not_several(maskrt: Run, chain: Any, streams: int) -> None:
    ran = maskrt("bench", chain.onnx, "--streams", streams, "--samples", 1)
    assert ran.code == 2
    assert f"--streams {streams} found; expected at least 2" in ran.err


def test_an_earlier_run_is_compared_and_decides_the_exit_code(
    maskrt: Run, chain: Any, tmp_path: Path
) -> None:
    page = tmp_path / "then.html"
    assert maskrt("bench", chain.onnx, "--samples", 10, "--html", page).code == 0
    then = page.with_suffix(".json")
    again = ("bench", chain.onnx, "--samples", 10, "--json", "--against")
    ran = maskrt(*again, then, "--allow", 1000)
    assert ran.code == 0, ran.err
    regression = ran.json["details"]["regression"]
    assert {change["scope"] for change in regression["changes"]} == {"model", "pipeline"}
    assert regression["environment_change"] == ""
    assert "passed" in ran.out
    # the same run, said to have taken a thousandth of its time on another CPU
    values = json.loads(then.read_text())
    for row in values["latency"]["backends"]:
        row["samples_ms"] = {
            scope: (np.array(samples) / 1000).tolist()
            for scope, samples in row["samples_ms"].items()
        }
    values["environment"]["cpu"] = "abacus"
    faster = tmp_path / "faster.json"
    faster.write_text(json.dumps(values))
    ran = maskrt(*again, faster)
    assert ran.code == 1
    assert "FAILED" in ran.out
    assert (
        "Machine or software changed: cpu abacus →"
        in ran.json["details"]["regression"]["environment_change"]
    )


def test_an_earlier_run_of_other_models_is_refused_before_the_long_run(
    maskrt: Run, chain: Any, tmp_path: Path
) -> None:
    page = tmp_path / "then.html"
    assert maskrt("bench", chain.onnx, "--samples", 1, "--html", page).code == 0
    then = page.with_suffix(".json")
    ran = maskrt("bench", chain.onnx_fp16, "--samples", 1, "--against", then)
    assert ran.code == 2
    assert "none of the models is in it" in ran.err
    ran = maskrt("bench", tmp_path / "absent.onnx", "--samples", 1, "--against", then)
    assert ran.code == 2
    assert "no such file" in ran.err
    ran = maskrt("bench", chain.onnx, "--samples", 1, "--against", chain.onnx)
    assert ran.code == 2
    assert str(chain.onnx) in ran.err
    ran = maskrt("bench", chain.onnx, "--samples", 1, "--against", then, "--allow", 0)
    assert ran.code == 2
    assert "--allow" in ran.err


def test_placement_and_floor_are_in_every_bench(maskrt: Run, chain: Any) -> None:
    ran = maskrt(
        "bench", f"{chain.onnx}@onnxruntime-cpu", chain.checkpoint, "--samples", 4, "--json"
    )
    assert ran.code == 0, ran.err
    details = ran.json["details"]
    (name,) = details["placement"]  # torch has no providers
    assert name == "net.onnx@onnxruntime-cpu"
    assert set(details["placement"][name]["nodes"]) == {"cpu"}
    assert details["placement"][name]["memcpy"] == 0
    floors = {row["name"]: row for row in details["floor"]["rows"]}
    onnx_row, torch_row = floors[name], floors["net.safetensors"]
    assert onnx_row["work"]["full_macs"] > 0 == onnx_row["work"]["half_macs"]
    assert torch_row["work"]["full_macs"] == onnx_row["work"]["full_macs"]
    assert 0 < onnx_row["of_peak"] < 1
    assert details["floor"]["bandwidths_bytes_per_s"]["cpu"] > 1e8
    peaks = [peak for peak in details["floor"]["peaks"] if peak["device"] == "cpu"]
    assert {peak["precision"] for peak in peaks} == {"fp32"}
    assert len({peak["name"] for peak in peaks}) == 3
    assert ran.json["environment"]["versions"]["numpy"] == np.__version__


@no_gpu
def test_without_a_gpu_a_session_is_recommended(maskrt: Run, chain: Any) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    models = (chain.onnx, f"{chain.onnx}@openvino", f"{chain.onnx_fp16}@openvino")
    ran = maskrt("bench", *models, "--samples", 10, "--json")
    assert ran.code == 0, ran.err
    (sentence,) = ran.json["sentences"]
    assert sentence in ran.out
    fp32 = [row for row in ran.json["backends"] if row["precision"] == "fp32"]
    fastest = min(fp32, key=lambda row: row["summaries"]["pipeline"]["p50_ms"])
    assert sentence.startswith(f"On this CPU pick {fastest['name']} (")
    assert sum("No NVIDIA GPU here" in line for line in ran.out.splitlines()) == 1


def test_macs_of_a_file_and_of_its_halves_agree(chain: Any) -> None:
    from maskrt import load

    with load(chain.onnx) as full, load(chain.onnx_fp16) as half:
        files = [
            (chain.onnx, Candidate("a", full, "")),
            (chain.onnx_fp16, Candidate("b", half, "")),
        ]
        works = works_of(files)
    assert works["a"].full_macs == works["b"].full_macs + works["b"].half_macs
    assert works["b"].half_macs > works["b"].full_macs
    assert works["b"].least_bytes < works["a"].least_bytes


def test_an_engines_work_is_in_its_sidecar(chain: Any) -> None:
    from types import SimpleNamespace

    from maskrt.runtime.sidecar import read_sidecar

    sidecar = read_sidecar(chain.engine)
    closed: Any = SimpleNamespace(contract=sidecar.contract)
    work = works_of([(chain.engine, Candidate("a", closed, ""))])["a"]
    assert work.full_macs + work.half_macs == sidecar.build["network"]["macs"]
    assert work.half_macs > work.full_macs
    assert work.least_bytes > sidecar.fingerprint.engine_bytes


@pytest.mark.parametrize(
    "chain_of",
    [
        Layers("MatMul", (6, 6), (6, 6), 3),
        Layers("Conv", (1, 4, 5, 5), (4, 4, 3, 3), 2),
        Layers("Conv", (1, 4, 5, 5), (4, 4, 1, 1), 1),
    ],
)
def test_a_probe_multiplies_what_it_says(chain_of: Layers) -> None:
    import onnx

    from maskrt.export.macs import graph_macs

    model = onnx.load_from_string(chain_model(chain_of))
    assert graph_macs(model).macs == chain_of.macs
    session = onnxruntime.InferenceSession(
        chain_model(chain_of), providers=["CPUExecutionProvider"]
    )
    (y,) = session.run(["Y"], {"X": np.ones(chain_of.shape, np.float32)})
    assert y.shape == chain_of.shape
    assert np.isfinite(y).all()
    assert y.any()


def test_the_probe_of_int8_computes_the_same_chain_in_int8() -> None:
    import onnx

    from maskrt.export.macs import graph_macs

    chain_of = Layers("MatMul", (64, 64), (64, 64), 2)
    model = onnx.load_from_string(int8_chain_model(chain_of))
    assert {node.precision for node in graph_macs(model).nodes if node.macs} == {"int8"}
    x = np.random.default_rng(0).uniform(-2, 2, (64, 64)).astype(np.float32)
    float_y, int8_y = (
        onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"]).run(["Y"], {"X": x})
        for made in (chain_model(chain_of), int8_chain_model(chain_of))
    )
    assert np.abs(float_y[0] - int8_y[0]).max() < 0.1 * np.abs(float_y[0]).max()


def test_probes_are_of_what_the_rows_compute_on() -> None:
    probes = probes_for([Backend(name, "cpu", "fp32", name) for name in ("onnxruntime", "torch")])
    assert {(probe.device, probe.precision) for probe in probes} == {("cpu", "fp32")}
    assert [probe.macs for probe in probes] == [chain.macs for chain in CHAINS["cpu", "fp32"]]


def test_where_onnxruntimes_cuda_cannot_start_a_gpu_row_has_no_peak(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A build that offers it is not enough: where its libraries are missing it takes the CPU."""
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr("maskrt.workflows.latency.floor.provider_trouble", lambda name: name)
    assert probes_for([Backend("tensorrt", "cuda", "fp16", "tensorrt")]) == []


def test_bfloat_rows_are_held_against_bfloat_products() -> None:
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    if "BF16" not in openvino_core(openvino).get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no BF16 products")
    probes = probes_for([Backend("openvino", "cpu", "bf16", "openvino-cpu-bf16")])
    assert {probe.precision for probe in probes} == {"fp32", "bf16"}
    for probe in probes:
        probe.run()


@pytest.mark.gpu
@pytest.mark.skipif(missing_device() is not None, reason=f"no GPU here: {missing_device()}")
def test_on_a_gpu_clocks_are_recorded_and_rows_have_an_engine_scope(
    maskrt: Run, chain: Any
) -> None:
    trouble = provider_trouble(CUDA)
    if trouble is not None:
        pytest.skip(f"ONNX Runtime's CUDA provider cannot start: {trouble}")
    models = (f"{chain.onnx}@onnxruntime-cpu", f"{chain.onnx_fp16}@onnxruntime-cuda")
    ran = maskrt("bench", *models, "--samples", 10, "--streams", 2, "--json")
    assert ran.code == 0, ran.err
    assert "No NVIDIA GPU here" not in ran.out
    assert ran.json["sentences"] == []  # advice is for machines without one
    assert all(state["sm_clock_mhz"] > 0 for state in ran.json["clock_log"])
    cuda = rows(ran)["net16.onnx@onnxruntime-cuda"]
    assert set(cuda["samples_ms"]) == {"engine", "model", "pipeline"}
    details = ran.json["details"]
    assert details["placement"]["net16.onnx@onnxruntime-cuda"]["nodes"]["cuda"] > 0
    (floor,) = [row for row in details["floor"]["rows"] if row["device"] == "cuda"]
    assert (floor["scope"], floor["half_precision"]) == ("engine", "fp16")
    assert 0 < floor["of_peak"] < 1
