"""An INT8 file opened in ONNX Runtime's integer kernels: the session `onnxruntime-int8`.

As the file stands, ONNX Runtime's CPU provider computes its layers in FP32 on rounded values: right
for judging the file, and slower than the FP32 file. This session is for serving; its own accuracy
is what `maskrt eval MODEL@onnxruntime-int8 --against` says.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from ...contract import METADATA_KEY, Contract, contract_from_metadata
from ...errors import InputError, SessionError
from ..inlined import inlined_model
from ..interface import Backend
from ..ort_session import OrtSession
from .form import in_integer_form
from .plan import RANGES_KEY
from .processor import cuts_sums


def open_in_integers(path: str | Path, threads: int | None = None) -> OrtSession:
    """Open an INT8 `.onnx` file on the CPU.

    Args:
        path: an `.onnx` file that maskrt exported with INT8 layers.
        threads: CPU threads inside one operator; None uses the physical cores.

    Raises:
        InputError: the file carries no contract, has no INT8, or FP8 beside it, or no ranges.
        SessionError: onnxruntime or onnx is missing, the file is corrupt, or this processor has
            neither VNNI nor AMX, so that sums would be cut.
        ContractError: its contract is unreadable or of another schema.
    """
    if cuts_sums():
        raise SessionError(
            f"{path}@onnxruntime-int8: an x86 processor without VNNI or AMX found, on which sums of"
            " eight-bit products are cut at 16 bits; expected one with either. Use @openvino, or "
            "an FP32 file."
        )
    model = inlined_model(Path(path), "cpu")
    import onnx

    metadata = {entry.key: entry.value for entry in model.metadata_props}
    contract = contract_from_metadata(metadata, str(path))
    _require_int8(model, contract, metadata, path)
    form = in_integer_form(model)
    onnx.helper.set_model_props(
        form, {METADATA_KEY: dataclasses.replace(contract, rest="fp32").to_json()}
    )
    with tempfile.TemporaryDirectory(prefix="maskrt-") as folder:
        copy = Path(folder, Path(path).name)
        copy.write_bytes(form.SerializeToString())
        session = OrtSession(copy, "cpu", threads)
    session.contract = contract
    session.backend = Backend("onnxruntime", "cpu", "int8", "onnxruntime-cpu-int8")
    return session


def _require_int8(
    model: Any, contract: Contract, metadata: dict[str, str], path: str | Path
) -> None:
    import onnx

    kinds = {tensor.data_type for tensor in model.graph.initializer}
    found = None
    if contract.precision != "int8":
        found = contract.precision.upper()
    elif onnx.TensorProto.FLOAT8E4M3FN in kinds:
        found = "FP8 beside INT8"
    elif RANGES_KEY not in metadata:
        found = "an INT8 file without ranges of what its layers give"
    if found is not None:
        raise InputError(
            f"{path}@onnxruntime-int8: {found} found; expected a file that this version exported "
            "with --precision int8. Export it so, or leave '@onnxruntime-int8' away."
        )
