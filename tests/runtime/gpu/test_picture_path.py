"""`Predictor(engine, pictures="gpu")` from pictures to run lengths, equal to the CPU's way.

On the stand-ins of conftest, under a real `TrtSession` whose engine is a function: it scales the
valid area into boxes, the peak pixel into a score, and gives masks of every shape.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from maskrt.eval.timing.latency import bench
from maskrt.eval.timing.runner import Candidate
from maskrt.eval.timing.turns import quick_options
from maskrt.runtime.contract import Contract
from maskrt.runtime.errors import ContractError, InputError, SessionError
from maskrt.runtime.gpu.device_array import DeviceArray
from maskrt.runtime.predictor import Predictor
from maskrt.runtime.results.instances import Instances
from maskrt.runtime.sessions.ort_session import OrtSession
from maskrt.runtime.sessions.trt import context as trt_context
from maskrt.runtime.sessions.trt import session as trt_session
from maskrt.runtime.sessions.trt.engine import LoadedEngine
from maskrt.runtime.sessions.trt.session import TrtSession
from maskrt.runtime.sidecar import Fingerprint, Sidecar
from maskrt.workflows.latency.findings import Findings, Opened, find_engines
from maskrt.workflows.prediction import predict_sources

from .conftest import L4, LateCuda, OnGpu, memory, noise, read

PICTURES = [noise(20, 31, 3), noise(90, 40, 3), noise(33, 33, 3)]


class LateEngine:
    """An engine whose work is queued; its outputs follow from canvases and sizes."""

    device_memory_size_v2 = 1000

    def __init__(self, late: LateCuda, contract: Contract) -> None:
        self._late, self._contract = late, contract
        self._specs = {spec.name: spec for spec in (*contract.inputs, *contract.outputs)}
        self.num_io_tensors = len(self._specs)

    def get_tensor_name(self, index: int) -> str:
        return list(self._specs)[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._specs[name].shape

    def get_tensor_dtype(self, name: str) -> Any:
        names = {"uint8": "UINT8", "int32": "INT32", "float32": "FLOAT"}
        return SimpleNamespace(name=names[self._specs[name].dtype])

    def create_execution_context(self) -> Any:
        addresses: dict[str, int] = {}

        def execute(stream: int) -> bool:
            assert self._late.made_on[stream] == self._late.current
            self._late.queue(stream, lambda: self._compute(addresses))
            return True

        def bind(name: str, address: int) -> bool:
            addresses[name] = address
            return True

        return SimpleNamespace(set_tensor_address=bind, execute_async_v3=execute)

    def _compute(self, addresses: dict[str, int]) -> None:
        at = {
            name: memory(addresses[name], spec.shape, spec.dtype)
            for name, spec in self._specs.items()
        }
        count = at["scores"].shape[1]
        at["counts"][:] = count - 1
        at["scores"][:] = at["images"].max(axis=(1, 2, 3))[:, None] / 255
        at["masks"][:] = np.random.default_rng(1).random(at["masks"].shape, dtype=np.float32)
        steps = np.arange(count)[:, None] / (2 * count)
        corners = np.concatenate((steps, steps, 1 - steps, 1 - steps / 2), 1)  # (D, 4) of the area
        sizes = at["image_sizes"][:, ::-1]
        name = "windows" if "windows" in at else "boxes"
        at[name][:] = np.tile(sizes, 2)[:, None] * corners
        if "labels" in at:
            at["labels"][:] = np.arange(count) % 2


@pytest.fixture
def open_engine(late: LateCuda, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TrtSession]:
    logger = SimpleNamespace(clear=lambda: None, recent_errors=lambda: "its last error")
    monkeypatch.setattr(trt_context, "tensorrt_logger", lambda _: logger)

    def open_it(contract: Contract, device: int = 0, contexts: int = 1) -> TrtSession:
        built = Fingerprint(
            onnx_sha256="0",
            runtime="tensorrt",
            tensorrt_version="11.4.0.106",
            gpu_name=L4.name,
            compute_capability=L4.compute_capability,
            options={},
            kernels_sha256={},
            engine_sha256="0",
            engine_bytes=1,
            build_seconds=1.0,
        )
        sidecar = Sidecar(contract, built, {})
        engine = LateEngine(late, contract)
        loaded = LoadedEngine(Path("x.engine"), sidecar, L4, SimpleNamespace(), None, engine)
        monkeypatch.setattr(trt_session, "load_engine", lambda *_: loaded)
        return TrtSession(Path("x.engine"), device, contexts=contexts, cuda_graph=False)

    return open_it


def assert_same(found: list[Instances], want: list[Instances]) -> None:
    assert len(found) == len(want)
    for one, other in zip(found, want, strict=True):
        assert len(one) > 0
        for name in ("boxes", "scores", "labels", "mask_probs"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert one.rles() == other.rles()
        assert (one.image_hw, len(one)) == (other.image_hw, len(other))


@pytest.mark.parametrize("task", ["instances", "proposals"])
@pytest.mark.parametrize("nms_iou", [None, 0.5])
@pytest.mark.parametrize("device", [0, 1])
def test_results_are_those_of_the_cpus_way(
    request: pytest.FixtureRequest,
    open_engine: Callable[..., TrtSession],
    late: LateCuda,
    task: str,
    nms_iou: float | None,
    device: int,
) -> None:
    name = "tiny_contract" if task == "instances" else "proposal_contract"
    contract: Contract = request.getfixturevalue(name)
    with Predictor(open_engine(contract, device), nms_iou) as predictor:
        want = predictor.predict(PICTURES)
    with Predictor(open_engine(contract, device), nms_iou, "gpu") as predictor:
        late.copied_bytes.clear()
        found = predictor.predict(PICTURES)
        canvas_bytes = 32 * 48 * 3 * contract.batch
        assert canvas_bytes not in late.copied_bytes  # canvases never are in host memory
        assert late.current == 0
    assert_same(found, want)
    assert late.live == {}


def test_masks_are_pasted_before_the_predictor_closes(
    open_engine: Callable[..., TrtSession], tiny_contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Predictor(open_engine(tiny_contract), pictures="gpu") as predictor:
        (found,) = predictor.predict(PICTURES[:1])

    def fail(*_: object) -> None:
        raise AssertionError("pasted on the CPU")

    monkeypatch.setattr("maskrt.runtime.results.pasting.paste_one", fail)
    assert len(found.rles()) == len(found) == 2


def test_canvases_are_ones_own_until_they_are_let_go(
    open_engine: Callable[..., TrtSession], late: LateCuda, tiny_contract: Contract
) -> None:
    with Predictor(open_engine(tiny_contract), pictures="gpu") as predictor:
        first, sizes = predictor.preprocess(PICTURES[:2])
        second, _ = predictor.preprocess(PICTURES[2:])
        assert isinstance(first, DeviceArray)
        assert first.pointer != second.pointer
        before = read(late, first)
        assert sizes.tolist() == [[31, 48], [32, 14]]
        third_at = second.pointer
        del second
        gc.collect()
        third, _ = predictor.preprocess(PICTURES[2:])
        assert third.pointer == third_at  # nothing new is allocated
        np.testing.assert_array_equal(read(late, first), before)
        again = predictor.run(first, sizes)["scores"]
        np.testing.assert_array_equal(again, predictor.run(first, sizes)["scores"])
        predictor.session.on_device.upload(first, sizes)
        predictor.session.on_device.execute()
    held = len(late.live)
    assert held > 0  # what is still in use
    del first, third
    gc.collect()
    assert late.live == {}


def test_threads_and_streams_share_one(
    open_engine: Callable[..., TrtSession], late: LateCuda, tiny_contract: Contract
) -> None:
    many = [noise(10 + i, 50 - i, 3) for i in range(24)]
    with Predictor(open_engine(tiny_contract)) as predictor:
        want = predictor.predict(many)
    with Predictor(open_engine(tiny_contract, 1, contexts=2), pictures="gpu") as predictor:
        assert_same(list(predictor.stream(many, depth=3)), want)
        with ThreadPoolExecutor(3) as pool:
            parts = list(pool.map(predictor.predict, (many[:8], many[8:16], many[16:])))
        assert_same([one for part in parts for one in part], want)
    gc.collect()
    assert late.live == {}


def test_pictures_may_be_on_the_gpu(
    open_engine: Callable[..., TrtSession], late: LateCuda, tiny_contract: Contract
) -> None:
    given = OnGpu(late, PICTURES[0], offset=5)
    with Predictor(open_engine(tiny_contract), pictures="gpu") as predictor:
        assert_same(predictor.predict([given]), predictor.predict(PICTURES[:1]))
    given.free()


def test_predict_reads_files_on_the_gpu_and_draws_on_a_copy(
    tmp_path: Path,
    open_engine: Callable[..., TrtSession],
    tiny_contract: Contract,
    nvimgcodec: list[tuple[int, int]],
) -> None:
    for index, image in enumerate(PICTURES):
        cv2.imwrite(str(tmp_path / f"{index}.jpg"), image)
    for pictures in ("cpu", "gpu"):
        with Predictor(open_engine(tiny_contract), pictures=pictures) as predictor:
            predict_sources(predictor, [tmp_path], tmp_path / pictures)
    assert len(nvimgcodec) == len(PICTURES)
    for name in ("results.json", "0.jpg", "1.jpg", "2.jpg"):
        assert (tmp_path / "gpu" / name).read_bytes() == (tmp_path / "cpu" / name).read_bytes()


def test_a_bench_times_both_ways(
    open_engine: Callable[..., TrtSession], tiny_contract: Contract
) -> None:
    with contextlib.ExitStack() as stack:
        rows = [
            Candidate(
                name, stack.enter_context(Predictor(open_engine(tiny_contract), None, name)), "0"
            )
            for name in ("cpu", "gpu")
        ]
        _, gpu = bench(rows, PICTURES, quick_options()).backends
        findings = Findings()
        find_engines(findings, [Opened(Path("x.engine"), row) for row in rows])
    assert set(gpu.speedups) == {"pipeline", "model", "engine"}
    (told,) = (line for line in findings.sentences if "pictures on the GPU" in line)
    assert told.startswith("gpu: ")
    assert "compare pipelines" in told


def test_a_picture_that_is_none_is_refused_and_the_next_are_predicted(
    open_engine: Callable[..., TrtSession], late: LateCuda, tiny_contract: Contract
) -> None:
    with Predictor(open_engine(tiny_contract), pictures="gpu") as predictor:
        with pytest.raises(ContractError, match="picture 1: got shape"):
            predictor.predict([PICTURES[0], PICTURES[0][0]])
        assert len(predictor.predict(PICTURES)) == 3
    with pytest.raises(SessionError, match="the predictor is closed"):
        predictor.predict(PICTURES)
    assert late.live == {}


def test_what_has_no_gpu_refuses_the_gpus_way(
    write_onnx: Callable[[str | None], Path],
    open_engine: Callable[..., TrtSession],
    tiny_contract: Contract,
    late: LateCuda,
) -> None:
    with OrtSession(write_onnx(tiny_contract.to_json()), "cpu") as session:
        with pytest.raises(InputError, match=r"pictures='gpu' for onnxruntime-cpu found; expected"):
            Predictor(session, pictures="gpu")
        given = OnGpu(late, PICTURES[0])
        with pytest.raises(ContractError, match="picture 0: in GPU memory; expected it in host"):
            Predictor(session).predict([given])
        given.free()
    with Predictor(open_engine(tiny_contract), pictures="auto") as predictor:
        canvases, _ = predictor.preprocess(PICTURES[:1])
        assert isinstance(canvases, np.ndarray)


def test_too_little_memory_gives_back_what_was_taken(
    open_engine: Callable[..., TrtSession],
    late: LateCuda,
    tiny_contract: Contract,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: int) -> Any:
        raise SessionError("out of memory")

    with open_engine(tiny_contract) as session:
        before = set(late.live)
        monkeypatch.setattr(late, "cudaMalloc", refuse)
        with pytest.raises(SessionError, match="out of memory"):
            Predictor(session, pictures="gpu")
        assert set(late.live) == before
        monkeypatch.setattr(late, "cudaMalloc", late.new)
        with Predictor(session, pictures="gpu") as predictor:
            monkeypatch.setattr(late, "cudaMalloc", refuse)
            with pytest.raises(SessionError, match="out of memory"):
                predictor.predict(PICTURES)
    assert late.live == {}
