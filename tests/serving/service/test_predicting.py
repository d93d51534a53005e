"""`POST /predict` gives what `predict` gives, in every form, however requests come together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from maskrt.runtime.errors import InputError, SessionError
from maskrt.runtime.pictures.preprocess import decoded_image
from maskrt.serving.batching.batcher import Kind, run_apart
from maskrt.serving.settings import ServeSettings
from maskrt.serving.web.predicting import wants_png
from maskrt.serving.web.traces import trace_of

from .conftest import Start, png

SIZES = [(40, 60), (32, 48), (64, 96), (50, 30)]


def test_answers_are_those_of_predict_however_they_were_batched(start: Start) -> None:
    pictures = [png(100 + 10 * n, SIZES[n % 4]) for n in range(12)]
    with start(wait_ms=50) as running, running.client() as client:
        ask = lambda data: client.post("/predict?score=0", content=data)  # noqa: E731
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(ask, pictures))
        assert max(running.predictor.batches) == 2
        for data, answer in zip(pictures, answers, strict=True):
            image = decoded_image(data, "")
            (found,) = running.predictor.predict([image])
            said = answer.json()
            assert (said["model"], said["height"], said["width"]) == ("tiny", *image.shape[:2])
            assert [each["box"] for each in said["instances"]] == found.boxes.tolist()
            assert [each["score"] for each in said["instances"]] == found.scores.tolist()
            assert [each["name"] for each in said["instances"]] == ["star", "disc"]
            masks = [coco_mask.decode(each["mask"]) for each in said["instances"]]
            assert np.array_equal(np.stack(masks).astype(bool), found.masks)


def test_forms_overlays_polygons_and_parameters(start: Start) -> None:
    data, half = png(255), png(100)
    with start() as running, running.client() as client:
        plain = client.post("/predict", content=data).json()
        assert client.post("/predict", files={"file": ("a.png", data)}).json() == plain
        (polygon,) = client.post("/predict?masks=polygons&most=1", content=data).json()["instances"]
        filled = cv2.fillPoly(
            np.zeros((40, 60), np.uint8),
            [np.array(polygon["polygons"][0]).reshape(-1, 2).round().astype(int)],
            1,
        )
        image = decoded_image(data, "")
        (found,) = running.predictor.predict([image])
        assert (filled == found.masks[0]).mean() > 0.95
        overlay = client.post("/predict", content=data, headers={"Accept": "image/png"})
        assert overlay.headers["content-type"] == "image/png"
        assert np.array_equal(decoded_image(overlay.content, ""), found.draw(image))
        assert client.post("/predict?score=0.5", content=half).json()["instances"] == []
        kept = client.post("/predict?score=0.3&masks=none&nms_iou=1", content=half).json()
        assert [each["mask"] for each in kept["instances"]] == [None, None]


def test_accept_chooses_the_first_that_is_known() -> None:
    assert wants_png("image/png")
    assert wants_png("text/html, image/*;q=0.9, application/json")
    assert not wants_png("application/json, image/png")
    assert not wants_png("*/*")


def test_one_that_fails_costs_no_other_its_answer() -> None:
    def run(payloads: list[int]) -> list[int]:
        if 3 in payloads:
            raise SessionError("3 gave NaN")
        return [-payload for payload in payloads]

    first, failed, last = run_apart(Kind("numbers", 3, run), [1, 3, 5])  # type: ignore[arg-type]
    assert (first, last) == (-1, -5)
    assert str(failed) == "3 gave NaN"


def test_a_token_is_asked_for_but_by_health_checks(start: Start) -> None:
    with start(token="letmein") as running, running.client() as client:
        assert client.get("/v2/health/ready").json() == {"ready": True}
        for headers in ({}, {"Authorization": "Bearer letmeinn"}, {"Authorization": "letmein"}):
            refused = client.post("/predict", content=png(9), headers=headers)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        allowed = client.get("/models", headers={"Authorization": "Bearer letmein"})
        assert [card["class_names"] for card in allowed.json()] == [["disc", "star"]]
        assert "letmein" not in repr(running.service.settings)


def test_a_trace_goes_on_and_a_wrong_one_is_replaced(start: Start) -> None:
    trace_id, span_id = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    with start() as running, running.client() as client:
        sent = f"00-{trace_id}-{span_id}-01"
        given = client.get("/v2", headers={"traceparent": sent}).headers["traceparent"]
    version, same, own, flags = given.split("-")
    assert (version, same, flags) == ("00", trace_id, "01")
    assert own != span_id
    for wrong in (None, "", "x", f"ff-{trace_id}-{span_id}-01", f"00-{'0' * 32}-{span_id}-01"):
        assert trace_of(wrong).trace_id not in (trace_id, "0" * 32)
    assert trace_of(f"01-{trace_id}-{span_id}-00-later").trace_id == trace_id


def test_metrics_and_openapi_tell_what_there_is(start: Start) -> None:
    with start() as running, running.client() as client:
        client.post("/predict", content=png(255))
        client.get("/no-such-thing")
        text = client.get("/metrics").text
        assert 'maskrt_requests_total{route="/predict",status="200"} 1.0' in text
        assert 'maskrt_batch_pictures_sum{kind="pictures",model="tiny"} 1.0' in text
        assert "no-such-thing" not in text
        assert 'maskrt_waiting{model="tiny"} 0.0' in text
        assert "maskrt_held_bytes 0.0" in text
        described = client.get("/openapi.json").json()
    body = described["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert set(body) == {"image/*", "multipart/form-data"}
    assert {"Prediction", "Instance", "Problem"} <= set(described["components"]["schemas"])


def test_settings_out_of_range_are_refused() -> None:
    for name, value in (("port", 70000), ("queue", 0), ("memory_bytes", 1), ("token", "a\nb")):
        with pytest.raises(InputError, match=r"serve: .*expected"):
            ServeSettings(**{name: value})  # type: ignore[arg-type]
