"""The Open Inference Protocol: tensors as JSON and as bytes give what the session gives."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from maskrt.runtime.contract import contract_from_json

from .conftest import Running, Start

HEADER = "Inference-Header-Content-Length"
INFER = "/v2/models/tiny/infer"
DTYPES = {"FP32": np.float32, "INT32": np.int32}


def canvases(rows: int, value: int = 255) -> tuple[Any, Any]:
    images = np.full((rows, 32, 48, 3), value, np.uint8)
    return images, np.array([[32, 48], [20, 30]], np.int32)[:rows]


def described(images: Any, sizes: Any, data: bool) -> list[dict[str, Any]]:
    tensors = {"images": images, "image_sizes": sizes}
    return [
        {
            "name": name,
            "shape": array.shape,
            "datatype": array.dtype.name.upper(),
            **(
                {"data": array.tolist()}
                if data
                else {"parameters": {"binary_data_size": array.nbytes}}
            ),
        }
        for name, array in tensors.items()
    ]


def binary(images: Any, sizes: Any, **more: object) -> tuple[bytes, dict[str, str]]:
    head = json.dumps({"inputs": described(images, sizes, False), **more}).encode()
    return head + images.tobytes() + sizes.tobytes(), {HEADER: str(len(head))}


def of_session(running: Running, images: Any, sizes: Any) -> dict[str, npt.NDArray[Any]]:
    whole = np.zeros((2, 32, 48, 3), np.uint8), np.ones((2, 2), np.int32)
    whole[0][: len(images)], whole[1][: len(images)] = images, sizes
    return {k: v[: len(images)] for k, v in running.predictor.session.run(*whole).items()}


def test_json_and_bytes_give_what_the_session_gives(start: Start) -> None:
    with start() as running, running.client() as client:
        for rows in (1, 2):
            images, sizes = canvases(rows, 200)
            expected = of_session(running, images, sizes)
            body = {"id": "7", "inputs": described(images, sizes, True)}
            said = client.post(INFER, json=body).json()
            assert (said["model_name"], said["model_version"], said["id"]) == ("tiny", "1", "7")
            for tensor in said["outputs"]:
                flat = np.array(tensor["data"], DTYPES[tensor["datatype"]])
                assert np.array_equal(flat.reshape(tensor["shape"]), expected.pop(tensor["name"]))
            assert not expected
            content, headers = binary(images, sizes, parameters={"binary_data_output": True})
            answer = client.post(INFER, content=content, headers=headers)
            length = int(answer.headers[HEADER])
            rest = answer.content[length:]
            expected = of_session(running, images, sizes)
            for tensor in json.loads(answer.content[:length])["outputs"]:
                size = tensor["parameters"]["binary_data_size"]
                assert rest[:size] == expected[tensor["name"]].tobytes()
                rest = rest[size:]
            assert not rest


def test_requests_share_a_batch_and_choose_outputs(start: Start) -> None:
    with start(wait_ms=2000) as running, running.client() as client:
        asked = [{"name": "scores"}, {"name": "counts", "parameters": {"binary_data": True}}]
        bodies = [binary(*canvases(1, value), outputs=asked) for value in (51, 102)]
        with ThreadPoolExecutor(2) as pool:
            send = lambda one: client.post(INFER, content=one[0], headers=one[1])  # noqa: E731
            answers = list(pool.map(send, bodies))
        assert "maskrt_batch_pictures_count{" in (metrics := client.get("/metrics").text)
        assert 'maskrt_batch_pictures_count{kind="tensors 32x48",model="tiny"} 1.0' in metrics
    for answer, score in zip(answers, (0.2, 0.4), strict=True):
        length = int(answer.headers[HEADER])
        scores, counts = json.loads(answer.content[:length])["outputs"]
        assert scores["data"] == pytest.approx([score] * 3)
        assert (counts["shape"], answer.content[length:]) == ([1], b"\x02\0\0\0")


def test_metadata_is_the_contract(start: Start) -> None:
    with start() as running, running.client() as client:
        contract = running.predictor.contract
        assert client.get("/v2/health/live").json() == {"live": True}
        assert client.get("/v2/models/tiny/ready").json()["ready"] is True
        assert "binary_tensor_data" in client.get("/v2").json()["extensions"]
        said = client.get("/v2/models/tiny/versions/1").json()
        assert said == client.get("/v2/models/tiny").json()
        assert said["inputs"][0] == {
            "name": "images",
            "datatype": "UINT8",
            "shape": [2, 32, 48, 3],
        }
        assert [each["name"] for each in said["outputs"]] == [o.name for o in contract.outputs]
        config = client.get("/v2/models/tiny/config").json()
        text = config["parameters"]["maskrt.contract"]["string_value"]
        assert contract_from_json(text, "") == contract


IMAGES, SIZES = canvases(2)
GOOD = described(IMAGES, SIZES, True)
REFUSED: dict[str, Any] = {
    "no JSON": b"{",
    "nested": b"[" * 100_000,
    "no inputs": {},
    "one input": {"inputs": GOOD[:1]},
    "twice the same": {"inputs": [GOOD[0], GOOD[0]]},
    "another name": {"inputs": [{**GOOD[0], "name": "x"}, GOOD[1]]},
    "another type": {"inputs": [{**GOOD[0], "datatype": "FP32"}, GOOD[1]]},
    "less data": {"inputs": [{**GOOD[0], "data": [1, 2]}, GOOD[1]]},
    "ragged data": {"inputs": [GOOD[0], {**GOOD[1], "data": [[1], 2]}]},
    "text": {"inputs": [GOOD[0], {**GOOD[1], "data": ["a", "b", "c", "d"]}]},
    "halves": {"inputs": [GOOD[0], {**GOOD[1], "data": [1.5, 1, 1, 1]}]},
    "too large": {"inputs": [GOOD[0], {**GOOD[1], "data": [2**40, 1, 1, 1]}]},
    "larger still": {"inputs": [GOOD[0], {**GOOD[1], "data": [2**80, 1, 1, 1]}]},
    "negative shape": {"inputs": [{**GOOD[0], "shape": [-2, 32, 48, 3]}, GOOD[1]]},
    "huge shape": {"inputs": [{**GOOD[0], "shape": [2**62] * 8}, GOOD[1]]},
    "empty": {"inputs": described(IMAGES[:0], SIZES[:0], True)},
    "three rows": {"inputs": described(np.repeat(IMAGES, 2, 0), np.repeat(SIZES, 2, 0), True)},
    "another canvas": {"inputs": described(IMAGES[:, :16], SIZES, True)},
    "sizes beyond": {"inputs": [GOOD[0], {**GOOD[1], "data": [[33, 48], [1, 1]]}]},
    "no such output": {"inputs": GOOD, "outputs": [{"name": "x"}]},
    "no bytes": {"inputs": described(IMAGES, SIZES, False)},
    "data and bytes": {"inputs": [GOOD[0], {**GOOD[1], "parameters": {"binary_data_size": 16}}]},
}


def test_what_is_not_the_model_s_is_refused_with_a_sentence(start: Start) -> None:
    with start() as running, running.client() as client:
        for name, body in REFUSED.items():
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            answer = client.post(INFER, content=content)
            assert answer.status_code == 400, (name, answer.text)
            assert "; expected " in answer.json()["error"], name
        content, headers = binary(*canvases(2))
        for length in ("-1", "x", str(len(content) + 1)):
            sent = {HEADER: length}
            assert client.post(INFER, content=content, headers=sent).status_code == 400
        assert client.post(INFER, content=content[:-1], headers=headers).status_code == 400
        for missing in ("/v2/models/other", "/v2/models/tiny/versions/2", "/v2/models/other/infer"):
            method = "POST" if missing.endswith("infer") else "GET"
            assert client.request(method, missing).status_code == 404
        assert client.post(INFER, content=content, headers=headers).status_code == 200


def test_triton_s_own_client_is_understood(start: Start) -> None:
    """Its wheel asks for an older ml-dtypes than onnx's tools, so it is in no extra."""
    triton = pytest.importorskip("tritonclient.http", reason="tritonclient is not installed")
    with start() as running:
        images, sizes = canvases(2, 200)
        expected = of_session(running, images, sizes)
        with triton.InferenceServerClient(running.url.removeprefix("http://")) as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready("tiny")
            assert client.get_model_metadata("tiny")["inputs"][1]["shape"] == [2, 2]
            assert client.get_model_config("tiny")["max_batch_size"] == 0
            for as_bytes in (True, False):
                inputs = [
                    triton.InferInput("images", [*images.shape], "UINT8"),
                    triton.InferInput("image_sizes", [*sizes.shape], "INT32"),
                ]
                inputs[0].set_data_from_numpy(images, binary_data=as_bytes)
                inputs[1].set_data_from_numpy(sizes, binary_data=as_bytes)
                outputs = [
                    triton.InferRequestedOutput(name, binary_data=as_bytes) for name in expected
                ]
                found = client.infer("tiny", inputs, outputs=outputs, request_id="a")
                assert found.get_response()["id"] == "a"
                for name, array in expected.items():
                    assert np.array_equal(found.as_numpy(name), array)
            with pytest.raises(triton.InferenceServerException, match="not served"):
                client.infer("other", inputs)
