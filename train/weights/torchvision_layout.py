"""torchvision's names of ResNet-50, and what its ImageNet weights expect of pictures and strides.

Source: torchvision models/resnet.py; Detectron2 tools/convert-torchvision-to-d2.py at 02b5c4e2.
"""

from __future__ import annotations

import re

from .layout import Layout


def torchvision_name(name: str) -> str:
    """Our name -> torchvision's, e.g. `backbone.res2.0.conv1.norm.bias` -> `layer1.0.bn1.bias`."""
    name = name.removeprefix("backbone.stem.")
    name = re.sub(r"^\w+\.res(\d)", lambda found: f"layer{int(found[1]) - 1}", name)
    name = re.sub(r"conv(\d)\.norm", r"bn\1", name)
    name = name.replace("shortcut.norm", "downsample.1")
    return name.replace("shortcut", "downsample.0")


TORCHVISION = Layout(
    "torchvision's ImageNet ResNet-50",
    torchvision_name,
    r"fc\.(weight|bias)|.+\.num_batches_tracked",
    overrides=(
        "model.stride_in_1x1=false",
        "input.channel_order=RGB",
        "input.mean=[123.675,116.28,103.53]",
        "input.std=[58.395,57.12,57.375]",
    ),
)
