"""Pickles of weights: arrays of any numpy come through exactly, nothing else does, nothing runs."""

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from maskrt.runtime.errors import InputError
from maskrt.train.weights.restricted_pickle import read_pickle, read_torch

WEIGHTS = OrderedDict(
    a=np.arange(6, dtype=np.float32).reshape(2, 3),
    fortran=np.asfortranarray(np.arange(6, dtype=np.float64).reshape(3, 2)),
    big_endian=np.arange(3, dtype=">f4"),
    half=np.float16([0.5, -2]),
    scalar_shape=np.array(3.0, np.float32),
    count=np.array([7], np.int64),
)


class Call:
    """Pickles as a call of `function(*arguments)`."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


def written(path: Path, value: object, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


def same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, strict=True)


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_come_through_exactly_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    path = written(
        tmp_path / "w.pkl", {"model": WEIGHTS, "__author__": "x", "b": b"\xff"}, protocol
    )
    content = read_pickle(path)
    assert content["__author__"] == "x"
    assert content["b"] == b"\xff"
    same(content["model"], WEIGHTS)


def test_what_is_shared_is_made_once(tmp_path: Path) -> None:
    shared: dict[str, object] = {"w": np.ones(2, np.float32)}
    for _ in range(24):  # 2**24 dicts, written out
        shared = {"a": shared, "b": shared}
    path = written(tmp_path / "w.pkl", shared)
    assert path.stat().st_size < 600
    content = read_pickle(path)
    assert content["a"] is content["b"]
    itself: dict[str, object] = {}
    itself["model"] = itself
    content = read_pickle(written(tmp_path / "w.pkl", itself))
    assert content["model"] is content


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"]r\xff\xff\xff\x7f.", "memory for 2147483647 objects asked for by 1"),
        (b"]p2000000000\n.", "memory for 2000000000 objects"),
        (b"c_codecs\nencode\n(X\x01\0\0\0aX\x06\0\0\0utf-32tR.", "bytes in the encoding 'utf-32'"),
    ],
)
def test_a_few_bytes_cannot_ask_for_all_memory(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "w.pkl"
    path.write_bytes(data)
    with pytest.raises(InputError, match=words):
        read_pickle(path)


def test_the_module_paths_of_both_numpys_are_known(tmp_path: Path) -> None:
    path = written(tmp_path / "w.pkl", WEIGHTS)
    new = path.read_bytes()
    old = new.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert (b"numpy._core" in new) != (np.__version__ < "2")
    path.write_bytes(old)
    same(read_pickle(path), WEIGHTS)


def test_arrays_of_python_2_are_read_as_latin_1(tmp_path: Path) -> None:
    # What Python 2 and numpy 1 write for {'w': float32 [1.5, -2]}: the data is a `str` (opcode U).
    data = np.float32([1.5, -2]).tobytes()
    path = tmp_path / "w.pkl"
    path.write_bytes(
        b"\x80\x02}U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"K\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08" + data + b"tbs."
    )
    same(read_pickle(path), {"w": np.float32([1.5, -2])})


REFUSED = {  # the function, and its name in protocol 2 (Python 2's) and to torch
    "system": (os.system, f"{os.name}.system", f"{os.name}.system"),
    "eval": (eval, "__builtin__.eval", "eval"),
    "numpy": (np.load, "numpy.load", "numpy.load"),
}


@pytest.mark.parametrize(("function", "name", "_"), REFUSED.values(), ids=REFUSED)
def test_other_names_are_refused_and_not_run(tmp_path: Path, function, name: str, _: str) -> None:
    mark = tmp_path / "ran"
    value = {"model": WEIGHTS, "x": Call(function, f"open({str(mark)!r}, 'w')")}
    path = written(tmp_path / "w.pkl", value)
    with pytest.raises(InputError, match=f"asks to call '{name}'.*nothing in it was run"):
        read_pickle(path)
    assert not mark.exists()


@pytest.mark.parametrize(("function", "_", "name"), REFUSED.values(), ids=REFUSED)
def test_torch_files_with_other_names_are_refused(
    tmp_path: Path, function, name: str, _: str
) -> None:
    mark = tmp_path / "ran"
    path = tmp_path / "w.pth"
    torch.save({"w": torch.zeros(2), "x": Call(function, f"open({str(mark)!r}, 'w')")}, path)
    with pytest.raises(InputError, match=f"asks to call '{name}'.*nothing in it was run"):
        read_torch(path)
    assert not mark.exists()


def test_a_command_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = written(tmp_path / "w.pkl", Call(os.system, f"touch {mark}"))
    with pytest.raises(InputError, match="refused"):
        read_pickle(path)
    assert not mark.exists()
    pickle.loads(path.read_bytes())  # and the file is one that runs it
    assert mark.exists()


def test_a_name_inside_an_allowed_module_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pkl"
    path.write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.")  # STACK_GLOBAL, dotted
    with pytest.raises(InputError, match=r"numpy\.ndarray\.tofile"):
        read_pickle(path)


@pytest.mark.parametrize("array", [np.array([{}], object), np.array(["a"])], ids=["object", "text"])
def test_arrays_of_anything_but_numbers_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(InputError, match="holds no numbers"):
        read_pickle(written(tmp_path / "w.pkl", {"w": array}))


BROKEN = {
    "cut short": pickle.dumps(WEIGHTS, 2)[:-40],
    "a picture": b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(100),
    "text": b"Not found",
    "array without values": b"\x80\x02}U\x01wcnumpy.core.multiarray\n_reconstruct\n)Rs.",
    "fewer values than the shape": pickle.dumps(WEIGHTS["a"], 2).replace(
        b"K\x02K\x03", b"K\x02K\x09"
    ),
    "state given to a class": b"\x80\x02cnumpy\nndarray\n}U\x01aK\x01sb.",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_broken_and_foreign_files_are_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "w.pkl"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"w\.pkl: not a readable pickle .* download it again"):
        read_pickle(path)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_torch_files_come_through_and_truncated_ones_do_not(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "w.pth"
    state = torch.nn.Conv2d(2, 3, 1).state_dict()
    state["count"] = torch.tensor(3)
    torch.save({"model": state}, path, _use_new_zipfile_serialization=not legacy)
    found = read_torch(path)["model"]
    assert found.keys() == state.keys()
    assert all(torch.equal(found[k], state[k]) for k in state)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(InputError, match="not a readable file of torch"):
        read_torch(path)


def test_zip_files_of_others_are_no_torch_files(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no weights")
    with pytest.raises(InputError, match="not a readable file of torch"):
        read_torch(path)
