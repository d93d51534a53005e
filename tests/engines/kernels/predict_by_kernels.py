"""Predict pictures with the Triton kernels in place of the operators: `... CKPT IN.npz OUT.npz`.

A process of its own: Triton's interpreter is chosen before triton is imported. `images` (N, H, W,
3) and `sizes` (N, 2) are canvases of the checkpoint's deploy form, `slots` its proposals and
detections. Features are FP16 at the operators, as in an FP16 engine. The outputs are the
contract's, one batch after the other.
"""

import sys

import interpret_kernels
import numpy as np
import torch

from maskrt.train.deploy import fastmask, mask_rcnn
from maskrt.train.deploy.deployment import Shapes, deploy
from maskrt.train.weights.checkpoint import load_checkpoint


def roi_align(features, rois, output_size, spatial_scale, sampling_ratio):
    """`roi_align_operator`, by the kernel."""
    batch, boxes = rois.shape[:2]
    cfg = (output_size, sampling_ratio, 1, round(1 / spatial_scale))
    scalars = (batch, boxes, *features.shape[1:], *cfg)
    x, rois = features.half().contiguous(), rois.float().contiguous()
    return interpret_kernels.run_roi_align(x, rois, scalars, "halves").float()


def window_align(pyramid, index, spatial_shapes, size=10):
    """`window_align_operator`, by the kernel, which moves 32-bit words."""
    words = pyramid.half().contiguous().view(torch.int32)
    sides = [*spatial_shapes, *[0] * (2 * interpret_kernels.LEVELS - len(spatial_shapes))]
    scalars = (*index.shape, *words.shape[1:], size, *sides)
    windows = interpret_kernels.run_window_align(words, index.contiguous(), scalars)
    return windows.view(torch.float16).float()


def put(module, name, function):
    """Replace a function that is there."""
    assert callable(getattr(module, name))
    setattr(module, name, function)


def main(checkpoint, inputs_path, outputs_path):
    interpret_kernels.mend_interpreter()
    given = np.load(inputs_path)
    put(mask_rcnn, "roi_align_operator", roi_align)
    put(fastmask, "window_align_operator", window_align)
    proposals, detections = (int(n) or None for n in given["slots"])
    shapes = Shapes(proposals=proposals, detections=detections)
    deployment = deploy(load_checkpoint(checkpoint), shapes)
    names = [spec.name for spec in deployment.contract.outputs]
    rows = []
    with torch.inference_mode():
        for image, size in zip(given["images"], given["sizes"], strict=True):
            outputs = deployment.module(torch.tensor(image[None]), torch.tensor(size[None]))
            rows.append([value.numpy() for value in outputs])
    stacked = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
    np.savez(outputs_path, **dict(zip(names, stacked, strict=True)))


if __name__ == "__main__":
    from pathlib import Path

    main(Path(sys.argv[1]), *sys.argv[2:])
