"""A complete synthetic caffemodel in wire format, read back and run as Caffe would run it."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from maskrt.runtime.errors import InputError
from maskrt.train.networks.fastmask import FastMask
from maskrt.train.recipes.fastmask import FastMaskConfig
from maskrt.train.weights.caffe_model import read_caffemodel
from maskrt.train.weights.checkpoint import load_checkpoint
from maskrt.train.weights.import_weights import import_checkpoint

Layers = dict[str, list[np.ndarray]]
BRANCHES = ("branch1", "branch2a", "branch2b", "branch2c")


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def message(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def wire(layers: Layers) -> bytes:
    """NetParameter bytes, with fields a reader has to skip."""
    parts = [message(1, b"fm") + varint(8 << 3) + varint(300)]
    for name, blobs in layers.items():
        layer = message(1, name.encode()) + message(2, b"Any") + message(3, b"bottom")
        for blob in blobs:
            shape = message(1, b"".join(varint(n) for n in blob.shape))
            layer += message(7, message(7, shape) + message(5, blob.astype("<f4").tobytes()))
        parts.append(message(100, layer))
    return b"".join([*parts, varint(9 << 3 | 5) + struct.pack("<f", 1.0)])


def synthetic() -> Layers:
    """Every layer of the published test network, numbers of a size that nothing overflows."""
    rng = np.random.default_rng(0)

    def normal(*shape: int, gain: float = 1.0) -> np.ndarray:
        fan = int(np.prod(shape[1:])) or 1
        return rng.standard_normal(shape, np.float32) * np.float32(gain / fan**0.5)

    def norm(name: str, scale: str, channels: int) -> Layers:
        factor = np.float32(2.5)
        statistics = [rng.random(channels, np.float32), 0.5 + rng.random(channels, np.float32)]
        affine = [0.5 + rng.random(channels, np.float32), rng.random(channels, np.float32)]
        return {name: [*(s * factor for s in statistics), np.array([factor])], scale: affine}

    layers: Layers = {"conv1": [normal(64, 3, 7, 7, gain=0.05), rng.random(64, np.float32)]}
    layers |= norm("bn_conv1", "scale_conv1", 64)
    before = 64
    for stage, blocks in ((2, "abc"), (3, "abcd"), (4, "abcdef")):
        mid, after = 64 * 2 ** (stage - 2), 256 * 2 ** (stage - 2)
        for block in blocks:
            shapes = {
                "branch1": (after, before, 1, 1),
                "branch2a": (mid, before, 1, 1),
                "branch2b": (mid, mid, 3, 3),
                "branch2c": (after, mid, 1, 1),
            }
            for branch, shape in shapes.items():
                if branch == "branch1" and block != "a":
                    continue
                key = f"{stage}{block}_{branch}"
                norms = norm(f"bn{key}", f"scale{key}", shape[0])
                layers[f"res{key}"] = [normal(*shape)]
                layers |= norms
                if stage == 4:
                    layers[f"res{key}_div3"] = [normal(*shape)]
                    layers |= {f"{name}_div3": blobs for name, blobs in norms.items()}
            before = after
    reduction = [normal(128, 1024, 1, 1)]
    layers |= {f"conv_feat_1_{s}s": reduction for s in (16, 24, 32, 48, 64, 96, 128)}
    first = [normal(256, 1024, 3, 3), rng.random(256, np.float32)]
    second = [normal(1024, 256, 1, 1), rng.random(1024, np.float32)]
    for a, b in (("5_4", "5_5"), ("6_1", "6_2")):
        layers |= {f"conv{a}": first, f"conv{b}": second}
        layers |= {f"conv{a}_div3": first, f"conv{b}_div3": second}
    layers |= {"conv7_1": first, "conv7_2": second}
    layers |= norm("sample_bn", "sample_scale", 128)
    layers |= {
        "cls_1": [normal(512, 12800), rng.random(512, np.float32)],
        "cls_2": [normal(1024, 512), rng.random(1024, np.float32)],
        "obj_score": [normal(1, 1024), rng.random(1, np.float32)],
        "att": [normal(100, 12800), rng.random(100, np.float32)],
        "seg_1": [normal(512, 12800, gain=0.003)],
        "seg_1_bn": [np.zeros(512, np.float32), np.zeros(512, np.float32), np.zeros(1, np.float32)],
        "seg_1_scale": [0.5 + rng.random(512, np.float32), rng.random(512, np.float32)],
        "seg_2": [normal(1600, 512), rng.random(1600, np.float32)],
    }
    side = np.array([1, 3, 5, 7, 7, 5, 3, 1], np.float32) / 8
    return layers | {"upscore": [np.outer(side, side).reshape(1, 1, 8, 8)]}


@pytest.fixture(scope="module")
def published() -> Layers:
    return synthetic()


@pytest.fixture(scope="module")
def imported(published: Layers, tmp_path_factory: pytest.TempPathFactory) -> tuple[FastMask, str]:
    folder = tmp_path_factory.mktemp("caffe")
    (folder / "fm.caffemodel").write_bytes(wire(published))
    report = import_checkpoint(folder / "fm.caffemodel", "caffe", folder / "fm.safetensors")
    (folder / "fm.caffemodel").unlink()
    model = load_checkpoint(folder / "fm.safetensors").model
    assert isinstance(model, FastMask)
    return model, report


class Caffe:
    """The published network layer by layer, as its prototxt names them."""

    def __init__(self, layers: Layers) -> None:
        self.blobs = {k: [torch.from_numpy(np.asarray(b)) for b in v] for k, v in layers.items()}

    def conv(self, x: Tensor, name: str, stride: int = 1, padding: int = 0) -> Tensor:
        weight, *bias = self.blobs[name]
        return F.conv2d(x, weight, bias[0] if bias else None, stride, padding)

    def norm(self, x: Tensor, name: str, scale: str) -> Tensor:
        mean, variance, factor = self.blobs[name]
        share = 1 / factor if factor else torch.zeros(1)
        weight, bias = self.blobs[scale]
        shape = (1, -1) + (1,) * (x.dim() - 2)
        x = (x - (mean * share).reshape(shape)) / (variance * share + 1e-5).sqrt().reshape(shape)
        return x * weight.reshape(shape) + bias.reshape(shape)

    def block(self, x: Tensor, key: str, stride: int, suffix: str) -> Tensor:
        def layer(y: Tensor, branch: str, step: int, padding: int = 0) -> Tensor:
            name = f"{key}_{branch}{suffix}"
            return self.norm(self.conv(y, f"res{name}", step, padding), f"bn{name}", f"scale{name}")

        shortcut = layer(x, "branch1", stride) if key.endswith("a") else x
        x = layer(x, "branch2a", stride).relu()
        return (layer(layer(x, "branch2b", 1, 1).relu(), "branch2c", 1) + shortcut).relu()

    def streams(self, picture: Tensor) -> list[Tensor]:
        """(1, 3, H, W) RGB less its mean -> maps at strides 16 and 24."""
        x = self.norm(self.conv(picture, "conv1", 2, 3), "bn_conv1", "scale_conv1").relu()
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        for block in "abc":
            x = self.block(x, f"2{block}", 1, "")
        for block in "abcd":
            x = self.block(x, f"3{block}", 2 if block == "a" else 1, "")
        maps = []
        for suffix, step in (("", 2), ("_div3", 3)):
            y = x
            for block in "abcdef":
                y = self.block(y, f"4{block}", step if block == "a" else 1, suffix)
            maps.append(y)
        return maps

    def neck(self, x: Tensor) -> Tensor:
        branch = self.conv(self.conv(x, "conv5_4", 1, 1).relu(), "conv5_5")
        pool = torch.nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
        return (pool(branch) + pool(x)).relu()

    def head(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 1024, h, w) -> objectness and mask logits of every window, C, H, W order."""
        x = F.pad(self.conv(level, "conv_feat_1_16s"), (5, 5, 5, 5))
        windows = F.unfold(x, 10)[0].T.reshape(-1, 128, 10, 10)
        windows = self.norm(windows, "sample_bn", "sample_scale")

        def linear(y: Tensor, name: str) -> Tensor:
            weight, *bias = self.blobs[name]
            return F.linear(y, weight, bias[0] if bias else None)

        flat = windows.flatten(1)
        score = linear(linear(linear(flat, "cls_1").relu(), "cls_2").relu(), "obj_score")
        attention = linear(flat, "att").sigmoid().reshape(-1, 1, 10, 10)
        x = linear((windows * attention).flatten(1), "seg_1") * 316.22776601684
        scale, shift = self.blobs["seg_1_scale"]
        return score[:, 0], linear(x * scale + shift, "seg_2").reshape(-1, 40, 40)


def test_the_imported_network_computes_what_caffe_would(
    published: Layers, imported: tuple[FastMask, str]
) -> None:
    model, report = imported
    assert re.search(r"all its 3\d\d tensors .* self-checks passed", report)
    image = torch.randint(
        0, 256, (1, 64, 96, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    mean = torch.tensor([123.68, 116.779, 103.939])
    caffe = Caffe(published)
    with torch.inference_mode():
        first, second = caffe.streams((image.float() - mean).permute(0, 3, 1, 2))
        x = model.normalize(image, torch.tensor([[64, 96]], dtype=torch.int32))
        for ours, theirs in zip(model.body(x), (first, second), strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))
        scale, shift = model.norm.trained()
        strides = (16.0, 24.0, 32.0)
        for ours, level in zip(
            model.levels(x, strides), (first, second, caffe.neck(first)), strict=True
        ):
            padded = F.pad(ours, (5, 5, 5, 5))
            windows = F.unfold(padded, 10)[0].T.reshape(-1, 128, 10, 10).permute(0, 2, 3, 1)
            windows = windows * scale + shift
            score, mask = caffe.head(level)
            for mine, wanted in (
                (model.head.scores(windows), score),
                (model.head.masks(windows)[0], mask),
            ):
                assert (mine - wanted).abs().max() <= 1e-4 * max(1.0, float(wanted.abs().max()))


def small(**changes: list[np.ndarray]) -> Layers:
    return {"conv1": [np.zeros((64, 3, 7, 7), np.float32), np.zeros(64, np.float32)], **changes}


def test_the_reader_takes_both_ages_of_the_format(tmp_path: Path) -> None:
    old_blob = b"".join(varint(n << 3) + varint(s) for n, s in ((1, 1), (2, 1), (3, 2), (4, 3)))
    numbers = np.arange(6, dtype="<f4")
    unpacked = b"".join(varint(5 << 3 | 5) + n.tobytes() for n in numbers)
    packed = message(5, numbers.tobytes())
    for data in (unpacked, packed):
        layer = message(4, b"fc") + message(6, old_blob + data)
        (tmp_path / "old.caffemodel").write_bytes(message(2, layer))
        (blob,) = read_caffemodel(tmp_path / "old.caffemodel")["fc"]
        assert blob.shape == (1, 1, 2, 3)
        assert np.array_equal(blob.ravel(), numbers)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (wire(small())[:-100], "not a whole caffemodel"),
        (b"\xff" * 40, "not a whole caffemodel"),
        (varint(100 << 3 | 2) + varint(1 << 40), "are left"),
        (varint(100 << 3 | 3), "of kind 3"),
        (message(1, b"net"), "holds no layer with weights"),
        (wire(small()), "layer 'conv1' has 1 blobs|layer 'bn_conv1' has 0 blobs; expected 3"),
        (message(100, message(1, b"x") + message(7, message(5, b"\0" * 7))), "7 bytes of float32"),
        *(
            (message(100, message(7, message(7, message(1, dims)) + message(5, data))), sentence)
            for dims, data, sentence in (
                (varint(2**32) * 2, b"", r"a blob of shape \[4294967296, 4294967296\] holds 0"),
                (varint(2**62) * 4, b"\0" * 4, "holds 1 numbers"),
                (varint(1) * 100, b"\0" * 4, r"shape \[1, 1, 1, 1, 1, 1, 1, 1\] holds 1 numbers"),
                (varint(0) + varint(2**62), b"", "a blob without numbers"),
                (b"", b"\0" * 4, r"a blob of shape \[\] holds 1 numbers"),
            )
        ),
    ],
)
def test_broken_files_are_one_sentence(tmp_path: Path, data: bytes, sentence: str) -> None:
    file = tmp_path / "fm.caffemodel"
    file.write_bytes(data)
    with pytest.raises(InputError, match=sentence):
        import_checkpoint(file, "caffe", tmp_path / "fm.safetensors")
    assert not (tmp_path / "fm.safetensors").exists()


def blobs(*shapes: tuple[int, ...], fill: float = 1.0) -> list[np.ndarray]:
    return [np.full(shape, fill, np.float32) for shape in shapes]


def test_old_files_write_every_shape_with_four_sizes(
    published: Layers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = {
        name: [b.reshape((1,) * (4 - b.ndim) + b.shape) for b in found]
        for name, found in published.items()
    }
    monkeypatch.setattr("maskrt.train.weights.fastmask_caffe.read_caffemodel", lambda _: layers)
    (tmp_path / "fm.caffemodel").touch()
    report = import_checkpoint(tmp_path / "fm.caffemodel", "caffe", tmp_path / "fm.safetensors")
    assert "self-checks passed" in report


def test_the_zoom_form_is_read_too_and_a_stream_can_be_left_out(
    published: Layers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = {k: v for k, v in published.items() if k not in ("seg_1_bn", "upscore")}
    layers |= {"conv7_1_div3": layers["conv7_1"], "conv7_2_div3": layers["conv7_2"]}
    layers["conv_feat_1_192s"] = layers["conv_feat_1_16s"]
    layers["upscore_"] = [np.tile(published["upscore"][0], (1000, 1, 1, 1))]
    monkeypatch.setattr("maskrt.train.weights.fastmask_caffe.read_caffemodel", lambda _: layers)
    (tmp_path / "fm.caffemodel").touch()
    out = tmp_path / "fm.safetensors"
    asked = ["model.streams=1"]
    report = import_checkpoint(tmp_path / "fm.caffemodel", "caffe", out, overrides=asked)
    assert "without the 95 of the second stream as recipe fastmask_r39" in report
    assert "self-checks passed" in report
    model = load_checkpoint(out).recipe.model
    assert isinstance(model, FastMaskConfig)
    assert (model.streams, model.test_strides) == (1, (16.0, 32.0, 64.0, 128.0))


def test_nan_in_weights_that_layers_share_is_called_nan(
    published: Layers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = np.full((256, 1024, 3, 3), np.nan, np.float32)
    first = [name for name in published if published[name] is published["conv5_4"]]
    layers = published | {name: [bad, published["conv5_4"][1]] for name in first}
    monkeypatch.setattr("maskrt.train.weights.fastmask_caffe.read_caffemodel", lambda _: layers)
    with pytest.raises(InputError, match=r"'neck.branch.0.weight' holds NaN or infinite values"):
        import_checkpoint(tmp_path / "fm.caffemodel", "caffe", tmp_path / "fm.safetensors")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"conv6_1": None}, "'conv6_1' differs from 'conv5_4'"),
        ({"scale4b_branch2a_div3": None}, "'scale4b_branch2a_div3' differs"),
        ({"seg_1_bn": None}, "'seg_1_bn' holds statistics; expected zeros, as in the published"),
        ({"upscore": None}, "'upscore' is not bilinear; expected kernels of bilinear"),
        ({"upscore": blobs((1, 1, 4, 4))}, r"'upscore' has a blob of \(1, 1, 4, 4\); expected \(8"),
        ({"conv1": blobs((64, 3, 7, 7), (3,))}, r"'conv1' has a blob of \(3,\); expected \(64,\)"),
        ({"bn_conv1": blobs((64,), (64,), (0,))}, r"a blob of \(0,\); expected \(1,\)"),
        (
            {"bn_conv1": [*blobs((64,), (64,), fill=-1), np.ones(1, np.float32)]},
            "'bn_conv1' holds negative variances; expected 0 or more",
        ),
        ({"scale_conv1": blobs((8, 8), (64,))}, r"a blob of \(8, 8\); expected \(64,\)"),
        ({"cls_1": blobs((), (512,))}, r"a blob of \(\); expected \(512, 12800\)"),
        ({"cls_1": blobs((12800,), (512,))}, r"a blob of \(12800,\); expected"),
        ({"cls_1": blobs((12800, 512), (512,))}, r"a blob of \(12800, 512\); expected"),
        ({"seg_2": blobs((512, 1600), (1600,))}, r"a blob of \(512, 1600\); expected"),
        ({"att": blobs((64, 1, 8, 8), (100,))}, r"a blob of \(64, 1, 8, 8\); expected"),
        (
            {"extra": [np.ones(3, np.float32)]},
            r"1 layers this network does not have \(e.g. extra\)",
        ),
    ],
)
def test_another_training_of_the_network_is_refused(
    published: Layers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, list[np.ndarray] | None],
    sentence: str,
) -> None:
    layers = published | {
        name: blobs or [blob + 1 for blob in published[name]] for name, blobs in change.items()
    }
    monkeypatch.setattr("maskrt.train.weights.fastmask_caffe.read_caffemodel", lambda _: layers)
    with pytest.raises(InputError, match=sentence):
        import_checkpoint(tmp_path / "fm.caffemodel", "caffe", tmp_path / "fm.safetensors")
    assert not (tmp_path / "fm.safetensors").exists()
