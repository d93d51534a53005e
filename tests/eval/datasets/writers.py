"""One drawn data set written as each tool would: the same pictures and polygons in every layout."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskrt.train.shapes.drawing import draw_shapes

Coco = dict[str, Any]


@dataclass(frozen=True)
class Drawn:
    """COCO's lists and the pictures' folder of each split; objects are one polygon each."""

    splits: dict[str, Coco]
    pictures: dict[str, Path]

    @property
    def names(self) -> list[str]:
        """Of the classes in order of id."""
        return [c["name"] for c in self.splits["train"]["categories"]]

    def merged(self) -> Coco:
        """Both splits in one file, the val pictures' names and ids behind the others."""
        train, val = self.splits["train"], self.splits["val"]
        after = len(train["images"])
        images = [{**i, "id": i["id"] + after} for i in val["images"]]
        objects = [{**a, "image_id": a["image_id"] + after} for a in val["annotations"]]
        return {
            **train,
            "images": train["images"] + images,
            "annotations": train["annotations"] + objects,
        }

    def copy_pictures(self, folder: Path, *splits: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for split in splits or self.splits:
            for image in self.splits[split]["images"]:
                shutil.copy(self.pictures[split] / image["file_name"], folder)


def drawn(folder: Path) -> Drawn:
    """Few pictures, their names unlike in the two splits."""
    data = draw_shapes(folder, 5, 4, seed=3, progress=False)
    splits = {}
    for split in ("train", "val"):
        raw = json.loads((data / "annotations" / f"instances_{split}.json").read_text())
        raw["annotations"] = [_plain(a) for a in raw["annotations"] if _is_polygon(a)]
        for image in raw["images"]:
            name = f"{split}_{image['file_name']}"
            (data / split / image["file_name"]).rename(data / split / name)
            image["file_name"] = name
        splits[split] = raw
    return Drawn(splits, {split: data / split for split in splits})


def _is_polygon(annotation: dict[str, Any]) -> bool:
    return isinstance(annotation["segmentation"], list) and len(annotation["segmentation"]) == 1


def _plain(annotation: dict[str, Any]) -> dict[str, Any]:
    """With the polygon's own box, and the area left to the reader."""
    corners = np.reshape(annotation["segmentation"][0], (-1, 2))
    low, high = corners.min(axis=0), corners.max(axis=0)
    return {**annotation, "bbox": [*low, *(high - low)], "area": 0}


def write(path: Path, raw: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(raw))


def coco(data: Drawn, folder: Path, year: str = "2017") -> None:
    for split in data.splits:
        write(folder / "annotations" / f"instances_{split}{year}.json", data.splits[split])
        write(folder / "annotations" / f"captions_{split}{year}.json", {"images": []})
        data.copy_pictures(folder / f"{split}{year}", split)


def coco_2014(data: Drawn, folder: Path) -> None:
    coco(data, folder, "2014")


def roboflow(data: Drawn, folder: Path) -> None:
    above = {"id": 0, "name": "shapes", "supercategory": "none"}
    for split, name in (("train", "train"), ("val", "valid")):
        raw = data.splits[split]
        named = [{**c, "supercategory": "shapes"} for c in raw["categories"]]
        write(folder / name / "_annotations.coco.json", {**raw, "categories": [above, *named]})
        data.copy_pictures(folder / name, split)
    (folder / "README.roboflow.txt").write_text("exported\n")


def cvat(data: Drawn, folder: Path) -> None:
    write(folder / "annotations" / "instances_default.json", data.merged())
    data.copy_pictures(folder / "images" / "default")


def labelme2coco(data: Drawn, folder: Path) -> None:
    raw = data.merged()
    images = [{**i, "file_name": f"JPEGImages/{i['file_name']}"} for i in raw["images"]]
    write(folder / "annotations.json", {**raw, "images": images})
    data.copy_pictures(folder / "JPEGImages")


def single_json(data: Drawn, folder: Path) -> None:
    write(folder / "fruit.json", data.merged())
    data.copy_pictures(folder / "photographs")


def windows_paths(data: Drawn, folder: Path) -> None:
    raw = data.merged()
    images = [{**i, "file_name": f"C:\\label\\new\\{i['file_name']}"} for i in raw["images"]]
    write(folder / "trainval.json", {**raw, "images": images})
    data.copy_pictures(folder / "photographs")


def json_a_split(data: Drawn, folder: Path) -> None:
    for split, name in (("train", "Train"), ("val", "Validation")):
        write(folder / f"my_{name}.json", data.splits[split])
    data.copy_pictures(folder / "photographs")


def via(data: Drawn, folder: Path) -> None:
    raw = data.merged()
    images = [{**i, "id": str(i["id"])} for i in raw["images"]]
    objects = [
        {
            **a,
            "id": str(a["id"]),
            "image_id": str(a["image_id"]),
            "category_id": str(a["category_id"]),
            "segmentation": a["segmentation"][0],
        }
        for a in raw["annotations"]
    ]
    raw |= {"images": images, "annotations": objects}
    write(folder / "via_project_coco.json", raw)
    data.copy_pictures(folder / "photographs")


def yolo(data: Drawn, folder: Path, images: str = "images/{}", labels: str = "labels/{}") -> None:
    """As Ultralytics lays it out."""
    lines = [f"{s}: {images.format(n)}" for s, n in (("train", "train"), ("val", "val"))]
    names = "\n".join(f"  {number}: {name}" for number, name in enumerate(data.names))
    folder.mkdir(parents=True)
    (folder / "data.yaml").write_text("\n".join(["path: /nowhere", *lines, f"names:\n{names}\n"]))
    for split in data.splits:
        data.copy_pictures(folder / images.format(split), split)
        (folder / labels.format(split)).mkdir(parents=True)
        for image, objects in _by_picture(data.splits[split]):
            rows = [_yolo_line(a, image) for a in objects]
            if rows:
                name = Path(image["file_name"]).with_suffix(".txt")
                (folder / labels.format(split) / name).write_text("\n".join(rows) + "\n")


def yolo_of_roboflow(data: Drawn, folder: Path) -> None:
    yolo(data, folder, "{}/images", "{}/labels")
    names = ", ".join(f"'{name}'" for name in data.names)
    text = f"train: ../train/images\nval: ../valid/images\nnc: {len(data.names)}\nnames: [{names}]"
    (folder / "data.yaml").write_text(text)
    (folder / "val").rename(folder / "valid")


def _yolo_line(annotation: dict[str, Any], image: dict[str, Any]) -> str:
    shares = np.reshape(annotation["segmentation"][0], (-1, 2)) / (image["width"], image["height"])
    numbers = " ".join(repr(float(share)) for share in shares.ravel())
    return f"{annotation['category_id'] - 1} {numbers}"


def labelme(data: Drawn, folder: Path, *splits: str, below: str = "{}") -> None:
    for split in splits or data.splits:
        place = folder / below.format(split)
        data.copy_pictures(place, split)
        for image, objects in _by_picture(data.splits[split]):
            write((place / image["file_name"]).with_suffix(".json"), _labelme(data, image, objects))


def labelme_apart(data: Drawn, folder: Path) -> None:
    """All in one folder, the pictures in another."""
    labelme(data, folder, below="labels")
    (folder / "labels.txt").write_text("\n".join(["__ignore__", "_background_", *data.names]))
    (folder / "pictures").mkdir()
    for picture in (folder / "labels").glob("*.jpg"):
        picture.rename(folder / "pictures" / picture.name)
    for file in (folder / "labels").glob("*.json"):
        raw = json.loads(file.read_text())
        write(file, {**raw, "imagePath": f"..\\pictures\\{raw['imagePath']}"})


def _labelme(data: Drawn, image: dict[str, Any], objects: list[dict[str, Any]]) -> Coco:
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": [
            {
                "label": data.names[a["category_id"] - 1],
                "points": np.reshape(a["segmentation"][0], (-1, 2)).tolist(),
                "group_id": None,
                "shape_type": "polygon",
                "flags": {},
            }
            for a in objects
        ],
        "imagePath": image["file_name"],
        "imageData": None,
        "imageHeight": image["height"],
        "imageWidth": image["width"],
    }


def _by_picture(raw: Coco) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    return [
        (image, [a for a in raw["annotations"] if a["image_id"] == image["id"]])
        for image in raw["images"]
    ]


SPLIT: dict[str, tuple[str, Callable[[Drawn, Path], None]]] = {
    "COCO 2017": ("COCO", coco),
    "COCO 2014": ("COCO", coco_2014),
    "Roboflow": ("Roboflow", roboflow),
    "a JSON a split": ("COCO", json_a_split),
    "YOLO": ("YOLO", yolo),
    "YOLO by Roboflow": ("YOLO", yolo_of_roboflow),
    "labelme": ("labelme", labelme),
}
"""Layouts with splits, each with its name in the line that is told."""
UNSPLIT: dict[str, tuple[str, Callable[[Drawn, Path], None]]] = {
    "CVAT": ("CVAT", cvat),
    "labelme2coco": ("labelme2coco", labelme2coco),
    "single JSON": ("single-JSON", single_json),
    "Windows paths": ("single-JSON", windows_paths),
    "VIA": ("single-JSON", via),
    "labelme, one folder": ("labelme", labelme_apart),
}
