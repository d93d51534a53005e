"""A bundle predicts what its graphs predict, in the order of the pictures, opened when needed."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import pytest

from maskrt.runtime import Predictor, open_artefact
from maskrt.runtime.bundle_folder import bundle_folder, write_index
from maskrt.runtime.bundle_predictor import BundlePredictor, full_batches
from maskrt.runtime.contract import METADATA_KEY, Contract, TensorSpec
from maskrt.runtime.errors import ContractError, InputError, SessionError

from .conftest import TINY_GRAPH

Image = npt.NDArray[np.uint8]
LANDSCAPE, PORTRAIT = (20, 40), (40, 20)
MIXED = [LANDSCAPE, PORTRAIT, PORTRAIT, LANDSCAPE, PORTRAIT, LANDSCAPE, LANDSCAPE]


def picture(hw: tuple[int, int], value: int) -> Image:
    return np.full((*hw, 3), value, np.uint8)


def pictures(shapes: list[tuple[int, int]]) -> list[Image]:
    return [picture(hw, 10 + place) for place, hw in enumerate(shapes)]


def upright(contract: Contract) -> Contract:
    images = TensorSpec("images", (2, 48, 32, 3), "uint8")
    return dataclasses.replace(contract, canvas_hw=(48, 32), inputs=(images, *contract.inputs[1:]))


@pytest.fixture
def bundle(tmp_path: Path, tiny_contract: Contract) -> Path:
    """Two tiny graphs, landscape first, batch 2."""
    folder = tmp_path / "model"
    with bundle_folder(folder) as made:
        graphs = []
        for contract in (tiny_contract, upright(tiny_contract)):
            height, width = contract.canvas_hw
            text = TINY_GRAPH.replace("uint8[2, 32, 48, 3]", f"uint8[2, {height}, {width}, 3]")
            model = onnx.parser.parse_model(text)
            onnx.helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
            path = made / f"{height}x{width}.onnx"
            onnx.save(model, path)
            graphs.append((path, contract))
        write_index(made, graphs, None)
    return folder


@pytest.fixture
def opened() -> list[str]:
    """Names of graphs that were opened, in order."""
    return []


@pytest.fixture
def predictor(bundle: Path, opened: list[str]) -> Iterator[BundlePredictor]:
    def open_graph(path: Path) -> Predictor:
        opened.append(path.name)
        return Predictor(open_artefact(path))

    with BundlePredictor(bundle, open_graph) as made:
        yield made


def scores(found: list[object]) -> list[float]:
    return [round(255 * float(instances.scores[0])) for instances in found]  # type: ignore[attr-defined]


def test_results_keep_the_order_and_are_those_of_the_graphs(
    predictor: BundlePredictor, bundle: Path
) -> None:
    images = pictures(MIXED)
    found = predictor.predict(images)
    assert scores(found) == [10, 11, 12, 13, 14, 15, 16]  # type: ignore[arg-type]
    for hw, file in ((LANDSCAPE, "32x48.onnx"), (PORTRAIT, "48x32.onnx")):
        with Predictor(open_artefact(bundle / file)) as alone:
            places = [place for place, shape in enumerate(MIXED) if shape == hw]
            for place, one in zip(places, alone.predict([images[p] for p in places]), strict=True):
                np.testing.assert_array_equal(found[place].boxes, one.boxes)
                np.testing.assert_array_equal(found[place].scores, one.scores)
    assert predictor.predict([]) == []


def test_graphs_are_opened_with_the_first_picture_for_them(
    predictor: BundlePredictor, opened: list[str]
) -> None:
    assert opened == ["32x48.onnx"]
    predictor.predict(pictures([LANDSCAPE]))
    assert opened == ["32x48.onnx"]
    predictor.predict(pictures([PORTRAIT, LANDSCAPE]))
    assert opened == ["32x48.onnx", "48x32.onnx"]
    assert predictor.contract.canvas_hw == (32, 48)
    assert predictor.canvases == ((32, 48), (48, 32))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_streams_give_what_predict_gives(predictor: BundlePredictor, depth: int) -> None:
    images = pictures(MIXED * 3)
    found = list(predictor.stream(iter(images), depth))
    wanted = predictor.predict(images)
    assert scores(found) == scores(wanted)  # type: ignore[arg-type]


def test_a_stream_without_end_gives_results_although_one_picture_is_alone(
    predictor: BundlePredictor,
) -> None:
    endless = itertools.chain(
        pictures([PORTRAIT]), (picture(LANDSCAPE, 50) for _ in itertools.count())
    )
    found = list(itertools.islice(predictor.stream(endless), 8))
    assert scores(found) == [10, *[50] * 7]  # type: ignore[arg-type]


def test_the_phases_put_a_batch_on_one_canvas(predictor: BundlePredictor) -> None:
    for shapes, canvas_hw in (([PORTRAIT, PORTRAIT], (48, 32)), ([LANDSCAPE], (32, 48))):
        images = pictures(shapes)
        canvases, sizes = predictor.preprocess(images)
        assert canvases.shape[1:3] == canvas_hw
        found = predictor.postprocess(predictor.run(canvases, sizes), images, sizes)
        assert scores(found) == scores(predictor.predict(images))  # type: ignore[arg-type]


def test_suppression_is_that_of_predictors(bundle: Path) -> None:
    def open_graph(path: Path) -> Predictor:
        return Predictor(open_artefact(path))

    images = pictures([PORTRAIT, LANDSCAPE])
    with BundlePredictor(bundle, open_graph, nms_iou=0.1) as predictor:
        (first, second) = predictor.predict(images)
    with BundlePredictor(bundle, open_graph) as plain:
        wanted = [instances.suppressed(0.1) for instances in plain.predict(images)]
    assert [len(first), len(second)] == [len(one) for one in wanted]
    with pytest.raises(InputError, match="suppression at IoU 7"):
        BundlePredictor(bundle, open_graph, nms_iou=7.0)


def test_what_is_no_picture_is_refused_and_a_closed_bundle_too(
    predictor: BundlePredictor,
) -> None:
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), 7):
        with pytest.raises(ContractError, match="expected non-empty"):
            predictor.predict([wrong])  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"a\.jpg: no such file"):
        predictor.predict("a.jpg")
    predictor.close()
    predictor.close()
    for shape in (LANDSCAPE, PORTRAIT):
        with pytest.raises(SessionError, match="closed"):
            predictor.predict(pictures([shape]))


def test_files_are_read_as_they_come_and_give_what_their_pictures_give(
    predictor: BundlePredictor, tmp_path: Path
) -> None:
    images = pictures([LANDSCAPE, PORTRAIT, LANDSCAPE])
    expected = predictor.predict(images)
    paths = [tmp_path / f"{place}.png" for place in range(3)]
    for path, image in zip(paths, images, strict=True):
        cv2.imwrite(str(path), image[:, :, ::-1])
    for given in ([*paths[:2], images[2]], list(map(str, paths))):
        for one, other in zip(predictor.predict(given), expected, strict=True):
            assert one.image_hw == other.image_hw
            np.testing.assert_array_equal(one.boxes, other.boxes)
    (alone,) = predictor.predict(images[1])
    np.testing.assert_array_equal(alone.boxes, expected[1].boxes)


def test_a_graph_of_another_bundle_is_refused_when_it_is_opened(
    predictor: BundlePredictor, bundle: Path
) -> None:
    (bundle / "48x32.onnx").write_bytes(b"other")
    predictor.predict(pictures([LANDSCAPE]))
    with pytest.raises(InputError, match="another bundle"):
        predictor.predict(pictures([PORTRAIT]))


def test_batches_fill_and_nobody_waits_for_ever() -> None:
    def batches(canvases: str, size: int) -> list[tuple[str, list[int]]]:
        found = full_batches(canvases, str, size)  # type: ignore[arg-type]
        return [(str(canvas), [place for place, _ in batch]) for canvas, batch in found]

    assert batches("aabab", 1) == [(c, [place]) for place, c in enumerate("aabab")]
    assert batches("abab", 2) == [("a", [0, 2]), ("b", [1, 3])]
    assert batches("aba", 2) == [("a", [0, 2]), ("b", [1])]
    assert batches("baaaaaa", 2)[:3] == [("a", [1, 2]), ("a", [3, 4]), ("b", [0])]
    assert batches("", 4) == []


@pytest.mark.parametrize("make", [list, iter])
def test_places_are_each_picture_once(make: Callable[..., object]) -> None:
    canvases = "".join(np.random.default_rng(0).choice(list("abc"), 200))
    found = full_batches(make(canvases), str, 4)  # type: ignore[arg-type]
    batches = [(canvas, batch) for canvas, batch in found]
    assert sorted(place for _, batch in batches for place, _ in batch) == list(range(200))
    assert all(len({str(image) for _, image in batch}) == 1 for _, batch in batches)
    assert sum(len(batch) == 4 for _, batch in batches) > 35
