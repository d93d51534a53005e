"""A model behind the Open Inference Protocol as a `Session`: canvases there, outputs back.

    Predictor(RemoteSession("http://gpu-box:8000", "lsc"))

speaks to `maskrt serve` and to NVIDIA Triton alike. Placing pictures and pasting masks stay here;
the contract comes from the server, which has it among the parameters of the model's configuration.
Tensors travel as bytes behind the JSON.

Source: KServe, Open Inference Protocol v2; Triton, "Binary Tensor Data Extension" and "Model
Configuration Extension".
"""

from __future__ import annotations

import json
import math
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from ...runtime.closing import Closing
from ...runtime.contract import METADATA_KEY, Contract, Outputs, TensorSpec, contract_from_json
from ...runtime.errors import SessionError
from ...runtime.json_values import parse_json
from ...runtime.sessions.interface import Backend, OnDevice, check_inputs, closed_error
from ..datatypes import DATATYPES, HEADER_LENGTH, bytes_of, little_endian
from .connection import Answer, Connection

NUMPY_OF = {datatype: name for name, datatype in DATATYPES.items()}


class RemoteSession(Closing):
    """One model of a server; threads may share it, each with a connection of its own."""

    on_device: OnDevice | None = None

    def __init__(
        self, url: str, model: str, token: str | None = None, timeout_s: float = 60.0
    ) -> None:
        """Ask the server for the model's contract.

        Args:
            url: of the server, as "http://127.0.0.1:8000".
            model: its name there.
            token: what `maskrt serve --token-file` asks for; None where nothing does.
            timeout_s: how long to wait for one answer, and in all for a server that is full.

        Raises:
            InputError: `url` is no http address.
            SessionError: nobody answers there, there is no such model, or it is none of maskrt's.
            ContractError: its contract is unreadable or of another schema.
        """
        connection = Connection(url, token, timeout_s)
        self._where = f"{url.rstrip('/')}/v2/models/{quote(model, safe='')}"
        self._path = f"/v2/models/{quote(model, safe='')}"
        try:
            self.contract = self._contract(connection)
        except BaseException:
            connection.close()
            raise
        self._connection: Connection | None = connection
        label = f"server {connection.host}"
        self.backend = Backend("server", "cpu", self.contract.precision, label)

    def _contract(self, connection: Connection) -> Contract:
        try:
            config = parse_json(connection.ask("GET", f"{self._path}/config").body)
            text = config["parameters"][METADATA_KEY]["string_value"]
        except (ValueError, KeyError, TypeError) as err:
            raise SessionError(
                f"{self._where}: no {METADATA_KEY} among its parameters; expected a model that "
                "maskrt serves, or of a repository that maskrt triton wrote. Name such a model."
            ) from err
        return contract_from_json(str(text), self._where)

    def run(self, images: npt.NDArray[np.uint8], image_sizes: npt.NDArray[np.int32]) -> Outputs:
        """Run one batch there; arguments, result and ContractError as `Session.run`.

        Raises:
            SessionError: the session is closed, or the server refuses or does not answer; a full
                one (503) is asked again for as long as an answer may take.
        """
        check_inputs(self.contract, images, image_sizes)
        if self._connection is None:
            raise closed_error(self._where)
        head, content = _request({"images": images, "image_sizes": image_sizes})
        headers = {
            "Content-Type": "application/octet-stream",
            HEADER_LENGTH: str(len(head)),
        }
        answer = self._connection.ask("POST", f"{self._path}/infer", head + content, headers)
        try:
            return _outputs(answer, self.contract)
        except (ValueError, KeyError, TypeError) as err:
            raise SessionError(
                f"{self._where}: its answer is not the model's outputs ({err}); expected what its "
                "contract states. Check that the server runs the file it says."
            ) from err

    def close(self) -> None:
        """Hang up; a second call does nothing."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def _request(arrays: dict[str, npt.NDArray[Any]]) -> tuple[bytes, bytes]:
    """The JSON and the bytes behind it."""
    contents = [bytes_of(array) for array in arrays.values()]
    inputs = [
        {
            "name": name,
            "shape": [*array.shape],
            "datatype": DATATYPES[array.dtype.name],
            "parameters": {"binary_data_size": len(content)},
        }
        for (name, array), content in zip(arrays.items(), contents, strict=True)
    ]
    body = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    return json.dumps(body).encode(), b"".join(contents)


def _outputs(answer: Answer, contract: Contract) -> Outputs:
    """The contract's outputs out of an answer; ValueError where they are not all there."""
    length = int(answer.headers.get(HEADER_LENGTH) or len(answer.body))
    message, rest = parse_json(answer.body[:length]), answer.body[length:]
    found: Outputs = {}
    for tensor in message["outputs"]:
        size = (tensor.get("parameters") or {}).get("binary_data_size")
        if size is None:
            found[tensor["name"]] = np.asarray(tensor["data"]).reshape(tensor["shape"])
        else:
            dtype = little_endian(NUMPY_OF[tensor["datatype"]])
            if size != math.prod(tensor["shape"]) * dtype.itemsize or size > len(rest):
                raise ValueError(f"{tensor['name']} has {size} bytes")
            flat, rest = np.frombuffer(rest[:size], dtype), rest[size:]
            found[tensor["name"]] = flat.reshape(tensor["shape"])
    return {spec.name: _checked(found, spec) for spec in contract.outputs}


def _checked(found: Outputs, spec: TensorSpec) -> npt.NDArray[Any]:
    """One output, as the caller's own array of the contract's dtype."""
    if spec.name not in found:
        raise ValueError(f"no {spec.name}")
    if found[spec.name].shape != spec.shape:
        raise ValueError(f"{spec.name} is {found[spec.name].shape}, not {spec.shape}")
    return found[spec.name].astype(spec.dtype)
