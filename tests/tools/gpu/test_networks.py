"""The full-size stages with a small network: files are made, what can run here is timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from maskrt.runtime.gpu.cuda import missing_device
from maskrt.tools.gpu.networks import (
    NETWORKS,
    bench_network,
    files_of,
    make_engines,
    make_onnx,
    profile_layers,
)
from maskrt.tools.gpu.record import Found, NotRunError, Setting
from maskrt.train.recipes.recipe import load_recipe

from ...conftest import Chain

no_gpu = pytest.mark.skipif(missing_device() is None, reason="this machine has a GPU")


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory, chain: Chain) -> Iterator[Setting]:
    """With the chain's very narrow network in place of the small one."""
    narrow = replace(NETWORKS["lsc"], small=str(chain.checkpoint.with_suffix(".yaml")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "lsc", narrow)
        yield Setting(tmp_path_factory.mktemp("gpu"), True, "code-machine")


@pytest.fixture(scope="module")
def made(setting: Setting) -> Found:
    assert make_onnx("lsc", setting).failures == ()
    return make_engines("lsc", setting)


def test_the_recipes_are_there() -> None:
    for network in NETWORKS.values():
        assert load_recipe(network.recipe, network.overrides).family == (
            load_recipe(network.small).family
        )


def test_files_are_made_and_a_missing_tensorrt_is_said(setting: Setting, made: Found) -> None:
    files = files_of(setting, "lsc")
    assert made.failures == ()
    assert files.fp32.stat().st_size > files.fp16.stat().st_size > 0
    for engine in files.engines:
        assert engine.exists() == (engine.name not in made.absent)
        assert engine.exists() == any(engine.name in sentence for sentence in made.sentences)
    assert f"{files.fp16.name}@onnxruntime-tensorrt" in {*made.absent} | {
        sentence.partition(":")[0] for sentence in made.sentences
    }


@no_gpu
@pytest.mark.usefixtures("made")
def test_what_runs_here_is_timed_and_the_rest_has_its_reason(setting: Setting) -> None:
    found = bench_network("lsc", setting)
    timed = {row["name"] for row in found.details["backends"]}
    assert timed == {"lsc.safetensors@torch", "lsc-fp32.onnx@onnxruntime-cpu"}
    assert found.failures == ()
    assert {
        "lsc.safetensors@torch-fp16",
        "lsc.safetensors@torch-compile-fp16",
        "lsc-fp16.onnx@onnxruntime-cuda",
        "lsc-fp16.onnx@onnxruntime-tensorrt",
        "lsc-fp16.engine",
        "lsc-fp16.engine@pictures=gpu",
        "lsc-fp16-portable.engine",
        "lsc-fp16-rtx.engine",
    } <= set(found.absent)
    assert "GPU" in found.absent["lsc-fp16-rtx.engine"]
    assert {"Latency", "Physical floor"} <= {table.title for table in found.tables}


@no_gpu
@pytest.mark.usefixtures("made")
def test_layers_of_engines_that_cannot_be_opened_are_not_run(setting: Setting) -> None:
    with pytest.raises(NotRunError, match="GPU") as raised:
        profile_layers(setting)
    assert len(raised.value.absent) == 3 * len(NETWORKS)
    assert "GPU" in raised.value.absent["lsc-fp16-rtx.engine"]


@pytest.mark.parametrize("run", [make_engines, bench_network])
def test_a_network_without_files_is_not_run(tmp_path: Path, run: Callable[..., Found]) -> None:
    with pytest.raises(NotRunError, match="not there: see the stage that makes it") as raised:
        run("fastmask", Setting(tmp_path, False, "code-machine"))
    assert any(name.startswith("fastmask-fp16.onnx") for name in raised.value.absent)
