"""Pickled weights, read without running what a pickle may run.

Unpickling calls whatever function the file names, so a downloaded `.pkl` can do anything. Here a
pickle may name what numpy writes for an array (module paths of numpy 1 and 2), `OrderedDict` and
`_codecs.encode` (how protocol 2 spells bytes), and no more. Even numpy's names reach small classes
of this file instead: an array is a buffer, a plain number type and a shape, so numpy's C code never
sees state that a stranger wrote. Torch's files go through `torch.load(weights_only=True)`, which
keeps a list of the same kind.

Formats: docs.python.org/3/library/pickle.html, "Restricting Globals"; numpy's `__reduce__`.
"""

from __future__ import annotations

import pickle
import pickletools
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...runtime.errors import InputError, first_line

NUMBER_KINDS = "fiub"
"""numpy kinds that may be read: floats, integers, unsigned ones, booleans; no objects, no text."""


class _Dtype:
    """Stands for `numpy.dtype`: a plain number type and its byte order."""

    def __init__(self, code: str, *_align_and_copy: object) -> None:
        self.dtype = np.dtype(code)
        if self.dtype.kind not in NUMBER_KINDS:
            raise ValueError(f"an array of type '{code}', which holds no numbers")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])  # (version, byte order, ...)


class _Array:
    """Stands for `numpy.ndarray` and for the function that makes an empty one, filled later."""

    def __init__(self, *_type_shape_code: object) -> None:
        self.values: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        # Python 2 wrote its `str`, which arrives as latin-1 text.
        self._fill(data.encode("latin1") if isinstance(data, str) else data, dtype, shape, fortran)

    def _fill(self, data: bytes, dtype: _Dtype, shape: tuple[int, ...], fortran: bool) -> None:
        flat = np.frombuffer(data, dtype.dtype)
        self.values = flat.reshape(shape, order="F" if fortran else "C")


class _BufferArray(_Array):
    """Stands for the function that protocol 5 names: array from buffer, dtype, shape and order."""

    def __init__(
        self, data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str, *_axes: object
    ) -> None:
        super().__init__()
        if order not in ("C", "F"):
            raise ValueError(f"an array in order '{order}'")
        self._fill(data, dtype, shape, order == "F")


def _latin1(text: str, encoding: str) -> bytes:
    """Stands for `_codecs.encode`; other encodings would let a few bytes grow without end."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"bytes in the encoding '{encoding}'")
    return text.encode("latin1")


ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.numeric", "_frombuffer"): _BufferArray,
    ("numpy._core.numeric", "_frombuffer"): _BufferArray,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _latin1,
}


class _RefusedError(Exception):
    """A pickle named something that weights do not need."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """What a name in the pickle stands for; everything outside ALLOWED is refused."""
        try:
            return ALLOWED[module_name, global_name]
        except KeyError:
            raise _RefusedError(f"{module_name}.{global_name}") from None


def read_pickle(path: Path) -> Any:
    """Read a pickle of numpy arrays in dicts, written by Python 2 or 3 and any numpy.

    Returns:
        Dicts as they are, arrays as read-only ndarrays of numbers; nothing in the file was called.

    Raises:
        InputError: the file names anything else (the message says what), is cut short or no pickle.
    """
    try:
        with path.open("rb") as stream:
            _check_memo(stream)
            return _with_arrays(_Unpickler(stream, encoding="latin1").load(), {})
    except _RefusedError as err:
        raise _refusal(path, str(err)) from err
    except Exception as err:  # broken pickles may raise anything, says pickle's documentation
        raise _unreadable(path, "pickle of arrays", err) from err


def read_torch(path: Path) -> Any:
    """Read what `torch.save` wrote, tensors on the CPU, by `torch.load(weights_only=True)`.

    Raises:
        InputError: the file names anything but weights (the message says what), is cut short or
            no file of torch.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:  # zip, pickle and storage errors are of many kinds
        refused = re.search(r"GLOBAL ([\w.]+)", str(err))
        if refused:
            raise _refusal(path, refused[1]) from err
        raise _unreadable(path, "file of torch", err) from err


def _check_memo(stream: BinaryIO) -> None:
    """Go through the file and back: the places where it keeps objects are no more than it makes.

    The unpickler reserves as many as the highest asks for, so a few bytes could ask for all memory.

    Raises:
        ValueError: one is beyond that, or the file is no pickle.
    """
    for made, (opcode, place, _) in enumerate(pickletools.genops(stream)):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= (place or 0) <= made + 256:
            raise ValueError(f"memory for {place} objects asked for by {made}")
    stream.seek(0)


def _with_arrays(value: Any, made: dict[int, Any]) -> Any:
    """Arrays in place of what stands for them; what is shared, by identity, is made once."""
    if isinstance(value, _Array):
        if value.values is None:
            raise ValueError("an array without values")
        return value.values
    if not isinstance(value, dict):
        return value
    if id(value) not in made:
        filled: dict[Any, Any] = {}
        made[id(value)] = filled  # before its items: it may hold itself
        filled |= {key: _with_arrays(item, made) for key, item in value.items()}
    return made[id(value)]


def _refusal(path: Path, name: str) -> InputError:
    return InputError(
        f"{path}: the file asks to call '{name}'; expected nothing but arrays. It was refused and "
        "nothing in it was run. Take the weights from their publisher again."
    )


def _unreadable(path: Path, what: str, err: Exception) -> InputError:
    return InputError(
        f"{path}: not a readable {what} ({first_line(err)}); expected trained weights. The file is "
        "cut short or of another kind: download it again."
    )
