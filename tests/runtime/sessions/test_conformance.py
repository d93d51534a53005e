"""What every session promises (`interface.Session`), asked of each that runs on this machine.

TensorRT is a stand-in (conftest.py); its real run loop is in tests/engines/test_gpu.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from maskrt.export.precision.uniform import to_eight_bits
from maskrt.runtime.contract import METADATA_KEY, Outputs, contract_from_metadata
from maskrt.runtime.errors import ContractError, InputError, SessionError
from maskrt.runtime.sessions import openvino_session
from maskrt.runtime.sessions.integers.plan import RANGES_KEY
from maskrt.runtime.sessions.interface import Session, check_inputs
from maskrt.runtime.sessions.open import ModelRef
from maskrt.runtime.sessions.options import SessionOptions
from maskrt.workflows.measure import opened_to_measure
from maskrt.workflows.open import open_model

Batch = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]


@dataclass(frozen=True)
class Case:
    """A file, the session to open it in, and what its backend says."""

    model: ModelRef
    runtime: str
    precisions: tuple[str, ...]
    label: str
    refused: tuple[SessionOptions, ...]
    """Options that it cannot obey."""

    def open(self, **options: Any) -> Session:
        asked = ModelRef(self.model.path, self.model.session, SessionOptions(**options))
        return open_model(asked).session


def torch_case(chain: Any) -> Case:
    refused = (
        SessionOptions(threads=2),
        SessionOptions(contexts=2),
        SessionOptions(pictures="gpu"),
    )
    return Case(ModelRef(chain.checkpoint), "torch", ("fp32",), "torch-", refused)


def onnxruntime_case(chain: Any) -> Case:
    refused = (
        SessionOptions(cuda_graph=False),
        SessionOptions(device="cuda"),
        SessionOptions(pictures="gpu"),
    )
    model = ModelRef(chain.onnx_fp16, "onnxruntime-cpu")
    return Case(model, "onnxruntime", ("fp32",), "onnxruntime-cpu", refused)


def openvino_case(chain: Any) -> Case:
    pytest.importorskip("openvino", reason="openvino is not installed")
    refused = (SessionOptions(contexts=2), SessionOptions(device="cuda:1"))
    model = ModelRef(chain.onnx_fp16, "openvino")
    return Case(model, "openvino", ("fp32", "bf16"), "openvino-cpu", refused)


def integers_case(chain: Any) -> Case:
    refused = (SessionOptions(contexts=2), SessionOptions(device="cuda"))
    model = ModelRef(chain.onnx.with_name("int8.onnx"), "onnxruntime-int8")
    if not model.path.exists():
        write_int8(chain, model.path)
    return Case(model, "onnxruntime", ("int8",), "onnxruntime-cpu-int8", refused)


def write_int8(chain: Any, path: Path) -> None:
    """The chain's network with every layer that can be in INT8, the rest in FP16."""
    source = onnx.load(chain.onnx)
    metadata = {entry.key: entry.value for entry in source.metadata_props}
    contract = contract_from_metadata(metadata, str(chain.onnx))
    pictures = sorted(chain.data.glob("train/*.jpg"))
    model, _ = to_eight_bits(source, contract, "int8", pictures)
    ranges = {entry.key: entry.value for entry in model.metadata_props}[RANGES_KEY]
    text = dataclasses.replace(contract, precision="int8", rest="fp16").to_json()
    onnx.helper.set_model_props(model, {METADATA_KEY: text, RANGES_KEY: ranges})
    onnx.save(model, path)


@pytest.fixture(params=["torch", "onnxruntime", "onnxruntime-int8", "openvino", "tensorrt"])
def case(request: pytest.FixtureRequest) -> Case:
    if request.param == "tensorrt":
        request.getfixturevalue("engine")
        path = request.getfixturevalue("write_engine")()
        refused = (SessionOptions(threads=2), SessionOptions(device="cpu"))
        return Case(ModelRef(path), "tensorrt", ("fp16",), "tensorrt", refused)
    made: Callable[[Any], Case] = {
        "torch": torch_case,
        "onnxruntime": onnxruntime_case,
        "onnxruntime-int8": integers_case,
        "openvino": openvino_case,
    }[request.param]
    return made(request.getfixturevalue("chain"))


def batches(session: Session, count: int = 1) -> list[Batch]:
    """Noise on canvases of the contract, each with a valid size of its own."""
    rng = np.random.default_rng(0)
    contract = session.contract
    shape = (contract.batch, *contract.canvas_hw, 3)
    return [
        (
            rng.integers(0, 256, shape, dtype=np.uint8),
            rng.integers(1, contract.canvas_hw, (contract.batch, 2), np.int32, endpoint=True),
        )
        for _ in range(count)
    ]


def equal(first: Outputs, second: Outputs) -> bool:
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name]) for name in first
    )


def test_outputs_are_the_contracts_and_the_callers_to_keep(case: Case) -> None:
    with case.open() as session:
        one, other = batches(session, 2)
        first = session.run(*one)
        assert {name: (array.shape, array.dtype.name) for name, array in first.items()} == {
            spec.name: (spec.shape, spec.dtype) for spec in session.contract.outputs
        }
        before = {name: array.copy() for name, array in first.items()}
        assert not equal(session.run(*other), before)
        assert equal(first, before)


def test_eight_threads_get_what_one_gets(case: Case) -> None:
    with case.open() as session, ThreadPoolExecutor(8) as pool:
        asked = batches(session, 24)
        alone = [session.run(*batch) for batch in asked]
        together = list(pool.map(lambda batch: session.run(*batch), asked))
    assert [equal(*pair) for pair in zip(alone, together, strict=True)] == [True] * 24


def test_it_closes_twice_and_says_so_when_it_is_asked_to_run(case: Case) -> None:
    with case.open() as session:
        (batch,) = batches(session)
        session.run(*batch)
    session.close()
    for _ in range(2):
        with pytest.raises(SessionError, match="the session is closed"):
            session.run(*batch)
    assert session.on_device is None


def test_an_error_in_the_block_closes_it(case: Case) -> None:
    with pytest.raises(ZeroDivisionError), case.open() as session:
        1 / 0  # noqa: B018
    with pytest.raises(SessionError, match="the session is closed"):
        session.run(*batches(session)[0])


def test_wrong_arrays_are_contract_errors_and_it_still_runs(case: Case) -> None:
    with case.open() as session:
        ((images, sizes),) = batches(session)
        wrong: list[tuple[Any, Any]] = [
            (images[:, 1:], sizes),
            (images.astype(np.float32), sizes),
            (images, sizes[0]),
            (images, sizes.astype(np.int64)),
            (images, sizes + 1000),
            (images, sizes * 0),
        ]
        for arrays in wrong:
            with pytest.raises(ContractError, match=r"image"):
                session.run(*arrays)
        check_inputs(session.contract, images, sizes)
        assert set(session.run(images, sizes)) == {s.name for s in session.contract.outputs}


def test_its_backend_is_told(case: Case) -> None:
    with case.open() as session:
        backend = session.backend
        device = "cuda" if session.on_device is not None else "cpu"
        assert (backend.runtime, backend.device) == (case.runtime, device)
        assert backend.precision in case.precisions
        assert str(backend).startswith(case.label)


def test_what_it_cannot_obey_is_refused(case: Case) -> None:
    for options in case.refused:
        with pytest.raises(InputError, match=f"{case.model.path.name}: .* found; this session"):
            open_model(ModelRef(case.model.path, case.model.session, options))


def test_an_unknown_session_names_the_known_ones(case: Case) -> None:
    path = case.model.path
    known = case.model.session or case.runtime
    with pytest.raises(InputError, match=rf"{path.name}@rocket: unknown session .*{known}"):
        open_model(ModelRef(path, "rocket"))


def test_a_file_that_is_not_there_is_an_input_error(case: Case, tmp_path: Path) -> None:
    absent = tmp_path / f"absent{case.model.path.suffix}"
    with pytest.raises(InputError, match="no such file"):
        open_model(ModelRef(absent, case.model.session))


def test_integers_take_int8_files_of_this_version_alone(chain: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="onnxruntime-int8: FP16 found; expected a file that this"):
        open_model(ModelRef(chain.onnx_fp16, "onnxruntime-int8"))
    write_int8(chain, tmp_path / "int8.onnx")
    with opened_to_measure(ModelRef(tmp_path / "int8.onnx", "onnxruntime-int8")) as (_, backend):
        assert backend == "onnxruntime-cpu-int8"  # as it runs: no copy that rounds as a GPU does
    model = onnx.load(tmp_path / "int8.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {METADATA_KEY: metadata[METADATA_KEY]})
    onnx.save(model, tmp_path / "older.onnx")
    with pytest.raises(InputError, match="an INT8 file without ranges of what its layers give"):
        open_model(ModelRef(tmp_path / "older.onnx", "onnxruntime-int8"))


def test_openvino_rounds_beside_interpolation_and_not_in_it(
    chain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In it a product runs in FP32, and its result is rounded by a reference kernel."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    path = tmp_path / "int8.onnx"
    write_int8(chain, path)

    def rounding_products() -> list[str]:
        with open_model(ModelRef(path, "openvino")) as predictor:
            request: Any = vars(predictor.session)["_request"]
            nodes = request.get_compiled_model().get_runtime_model().get_ops()
        infos = [node.get_rt_info() for node in nodes]
        products = [info for info in infos if info["layerType"].value == "MatMul"]
        made_of = [info["originalLayersNames"].value for info in products]
        assert made_of
        return [names for names in made_of if "FakeQuantize" in names]

    assert rounding_products() == []
    monkeypatch.setattr(openvino_session, "keep_products_apart", lambda model: None)
    assert rounding_products() != []
