"""Class name lists that recipes may name instead of spelling out, in label order."""

from __future__ import annotations

from ..shapes.outlines import CLASS_NAMES as SHAPES

# COCO's 80 things in category-id order, from the annotations: https://cocodataset.org/#download.
_COCO_NAMES = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,"
    "stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,"
    "backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,"
    "baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,"
    "bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,"
    "oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,"
    "toothbrush"
)
COCO = tuple(_COCO_NAMES.split(","))

CLASS_LISTS: dict[str, tuple[str, ...]] = {"coco": COCO, "shapes": SHAPES}


def resolved(classes: tuple[str, ...] | str) -> tuple[str, ...]:
    """The names that a recipe spells out, or those of the list it names."""
    return CLASS_LISTS[classes] if isinstance(classes, str) else classes
