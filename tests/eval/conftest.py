"""A drawn COCO data set of three pictures, predictions like its truth, and a scripted session."""

import dataclasses
import json

import cv2
import numpy as np
import pytest

from maskrt.eval.coco.data import load_coco
from maskrt.eval.coco.predictions import Prediction
from maskrt.runtime.contract import Contract, ResizeRule, TensorSpec
from maskrt.runtime.predictor import Predictor
from maskrt.runtime.sessions.interface import Backend

HW = (200, 240)
# (image, category id, x, y, w, h): one small, one medium, one large class per the COCO limits
RECTANGLES = [
    (11, 7, 10, 10, 20, 20),
    (11, 3, 60, 40, 50, 60),
    (12, 7, 20, 30, 120, 110),
    (12, 3, 150, 60, 25, 30),
    (12, 7, 180, 120, 50, 60),
]


def coco_json():
    """Pictures 11, 12 and the empty 13; categories 3 'square' and 7 'disc & <ring>'."""
    annotations = [
        {
            "id": index,  # from 0, as some tools write it
            "image_id": image,
            "category_id": category,
            "bbox": [x, y, w, h],
            "area": w * h,
            "iscrowd": 0,
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
        }
        for index, (image, category, x, y, w, h) in enumerate(RECTANGLES)
    ]
    images = [
        {"id": i, "file_name": f"{i}.png", "height": HW[0], "width": HW[1]} for i in (11, 12, 13)
    ]
    categories = [{"id": 7, "name": "disc & <ring>"}, {"id": 3, "name": "square"}]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.fixture
def folder(tmp_path):
    raw = coco_json()
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val").mkdir()
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(raw))
    rng = np.random.default_rng(0)
    for image in raw["images"]:
        picture = rng.integers(90, 140, (*HW, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "val" / image["file_name"]), picture)
    return tmp_path


@pytest.fixture
def data(folder):
    return load_coco(folder)


@pytest.fixture
def predict():
    """Predictions of rectangles: rows (image id, label, x, y, w, h, score), exact masks.

    With `windows` they are proposals, each from a window around it of twice its size.
    """
    from pycocotools import mask

    def make(rows, image_ids=(11, 12, 13), windows=False):
        found = []
        for image_id in image_ids:
            mine = sorted((row for row in rows if row[0] == image_id), key=lambda row: -row[6])
            rles = []
            for _, _, x, y, w, h, _ in mine:
                bitmap = np.zeros(HW, np.uint8, order="F")
                bitmap[round(y) : round(y + h), round(x) : round(x + w)] = 1
                rle = mask.encode(bitmap)
                rles.append({"size": list(rle["size"]), "counts": rle["counts"].decode()})
            boxes = [(x, y, x + w, y + h) for _, _, x, y, w, h, _ in mine]
            frames = [
                (x - w / 2, y - h / 2, x + 1.5 * w, y + 1.5 * h) for _, _, x, y, w, h, _ in mine
            ]
            found.append(
                Prediction(
                    image_id=image_id,
                    image_hw=HW,
                    boxes=np.array(boxes, np.float32).reshape(-1, 4),
                    scores=np.array([row[6] for row in mine], np.float32),
                    labels=np.array([row[1] for row in mine], np.int32),
                    rles=tuple(rles),
                    frames=np.array(frames, np.float32).reshape(-1, 4) if windows else None,
                )
            )
        return found

    return make


@pytest.fixture
def truth_rows():
    """The ground truth as prediction rows: label 0 is category 3, label 1 is category 7."""
    labels = {3: 0, 7: 1}
    return [
        (image, labels[category], x, y, w, h, 0.9 - 0.01 * index)
        for index, (image, category, x, y, w, h) in enumerate(RECTANGLES)
    ]


class ScriptedSession:
    """A `Session` of fixed answers: one square of score 0.8; each run calls `on_run`.

    `backend` is a `Backend`, or the label of one that computes FP32 on a CPU.
    """

    def __init__(self, backend="scripted", on_run=lambda: None, batch=1, names=None):
        slots, cells, (height, width) = 4, 7, HW
        scripted = isinstance(backend, str)
        self.backend = Backend("scripted", "cpu", "fp32", backend) if scripted else backend
        self.on_device = None
        self.on_run = on_run
        self.contract = Contract(
            model="mask_rcnn",
            variant="scripted",
            task="instances",
            class_names=names or ("square", "disc & <ring>"),
            canvas_hw=HW,
            batch=batch,
            resize=ResizeRule(short_side_px=height, long_side_px=width),
            channel_order="RGB",
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            inputs=(
                TensorSpec("images", (batch, height, width, 3), "uint8"),
                TensorSpec("image_sizes", (batch, 2), "int32"),
            ),
            outputs=(
                TensorSpec("boxes", (batch, slots, 4), "float32"),
                TensorSpec("scores", (batch, slots), "float32"),
                TensorSpec("labels", (batch, slots), "int32"),
                TensorSpec("masks", (batch, slots, cells, cells), "float32"),
                TensorSpec("counts", (batch,), "int32"),
            ),
            precision="fp32",
            operators=(),
            checkpoint_sha256="0" * 64,
        )

    def run(self, images, image_sizes):
        assert images.shape == self.contract.inputs[0].shape, images.shape
        self.on_run()
        outputs = {o.name: np.zeros(o.shape, o.dtype) for o in self.contract.outputs}
        outputs["boxes"][:, 0] = (60, 40, 110, 100)
        outputs["scores"][:, 0] = 0.8
        outputs["masks"][:, 0] = 1.0
        outputs["counts"][:] = 1
        return outputs

    def close(self):
        pass


class ProposalSession(ScriptedSession):
    """The same square as a proposal: its window is the square and its mask all of it.

    With 40 cells, four times finer, what fades outside the window stays below half a pixel.
    """

    def __init__(self, **options):
        super().__init__(names=("object",), **options)
        windows, scores, _, masks, counts = self.contract.outputs
        self.contract = dataclasses.replace(
            self.contract,
            model="fastmask",
            variant="scripted_proposals",
            task="proposals",
            outputs=(
                dataclasses.replace(windows, name="windows"),
                scores,
                dataclasses.replace(masks, shape=(*masks.shape[:2], 40, 40)),
                counts,
            ),
        )

    def run(self, images, image_sizes):
        self.on_run()
        outputs = {o.name: np.zeros(o.shape, o.dtype) for o in self.contract.outputs}
        outputs["windows"][:, 0] = (60, 40, 110, 100)
        outputs["scores"][:, 0] = 0.8
        outputs["masks"][:, 0] = 1.0
        outputs["counts"][:] = 1
        return outputs


@pytest.fixture
def proposing():
    """Makes a real `Predictor` around a `ProposalSession`; options as `ScriptedSession`'s."""
    return lambda **options: Predictor(ProposalSession(**options))


@pytest.fixture
def scripted():
    """Makes a real `Predictor` around a `ScriptedSession`; options as its constructor."""
    return lambda **options: Predictor(ScriptedSession(**options))


class Clock:
    """Stands in for the `time` module: time passes only where a session says so."""

    def __init__(self):
        self.now_ns = 0

    def perf_counter_ns(self):
        return self.now_ns

    def perf_counter(self):
        return self.now_ns / 1e9

    def advance_ms(self, ms):
        self.now_ns += round(ms * 1e6)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in ("runner", "turns"):
        monkeypatch.setattr(f"maskrt.eval.timing.{module}.time", clock)
    return clock
