"""Files decoded on the GPU, through stand-ins of nvImageCodec and CUDA."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskrt.runtime.contract import Contract
from maskrt.runtime.errors import InputError, MaskRTWarning
from maskrt.runtime.gpu import decode
from maskrt.runtime.gpu.decode import GpuDecoder, to_host
from maskrt.runtime.gpu.picture_path import GpuPath
from maskrt.runtime.pictures.preprocess import read_image

from .conftest import LateCuda, OnGpu, noise


def picture_file(folder: Path, name: str) -> Path:
    path = folder / name
    cv2.imwrite(str(path), noise(20, 30, 3))
    return path


def test_jpeg_is_decoded_on_the_gpu_and_drawn_on_from_a_copy(
    tmp_path: Path,
    tiny_contract: Contract,
    late: LateCuda,
    nvimgcodec: list[tuple[int, int]],
) -> None:
    path = picture_file(tmp_path, "a.JPG")
    with GpuPath(tiny_contract, 1) as gpu:
        found = gpu.read_image(path)
        assert isinstance(found, OnGpu)
        ((device, stream),) = nvimgcodec
        assert device == late.made_on[stream] == 1
        assert late.current == 0
        np.testing.assert_array_equal(to_host(found), read_image(path))
        with pytest.raises(AssertionError, match="another GPU current"):
            late.free(found._address)


def test_other_files_and_what_nvimagecodec_does_not_decode_go_to_opencv(
    tmp_path: Path, tiny_contract: Contract, late: LateCuda, nvimgcodec: list[tuple[int, int]]
) -> None:
    path, text = picture_file(tmp_path, "a.png"), tmp_path / "text.jpg"
    text.write_bytes(b"no picture")
    with GpuPath(tiny_contract) as gpu:
        found = gpu.read_image(path)
        assert isinstance(found, np.ndarray)
        assert to_host(found) is found
        assert nvimgcodec == []
        with pytest.raises(InputError, match=r"text\.jpg: not a whole picture \(10 bytes\)"):
            gpu.read_image(text)
        assert len(nvimgcodec) == 1
        with pytest.raises(InputError, match=r"none\.jpg: no such file"):
            gpu.read_image(tmp_path / "none.jpg")


def test_missing_nvimagecodec_is_told_once_and_opencv_decodes(
    tmp_path: Path, tiny_contract: Contract, late: LateCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", None)
    decode._decoder.cache_clear()
    path = picture_file(tmp_path, "a.jpg")
    with GpuPath(tiny_contract) as gpu:
        with pytest.warns(MaskRTWarning, match=r'decoded on the CPU\. .*"\.\[gpu-decode\]"'):
            np.testing.assert_array_equal(gpu.read_image(path), read_image(path))
        np.testing.assert_array_equal(gpu.read_image(path), read_image(path))  # no second one
    decode._decoder.cache_clear()


def test_the_stream_is_given_back(late: LateCuda) -> None:
    decoder = GpuDecoder(1)
    assert list(late.made_on.values()) == [1]
    decoder.close()
    decoder.close()
    assert (late.live, late.current) == ({}, 0)
