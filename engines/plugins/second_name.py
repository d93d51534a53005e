"""A second name for TensorRT-RTX's library, which its ONNX parser asks for and the wheel lacks.

When the parser adds a plugin layer it opens `libtensorrt_rtx.so`. The Python wheel has only
`libtensorrt_rtx.so.1`, and the parser's answer to a missing library is to end the process. A file
of that name on the search path would do, but the path is fixed when a process starts and the
wheel's folder is not ours to write to. The loader also takes a library that is already loaded under
the name asked for, its SONAME, and looks symbols up in what that library needs. So an empty library
of a few hundred bytes is loaded here: SONAME `libtensorrt_rtx.so`, needs `libtensorrt_rtx.so.1`.
Source: TensorRT-RTX 1.7.1 (found by experiment); ELF specification, dynamic linking.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import struct
import sys
import tempfile
from pathlib import Path

from ...runtime.errors import BuildError

ASKED_FOR = "libtensorrt_rtx.so"
THERE = "libtensorrt_rtx.so.1"

ELF_MACHINES = {"x86_64": 62, "aarch64": 183}
PT_LOAD, PT_DYNAMIC, PT_GNU_STACK = 1, 2, 0x6474E551
DT_NULL, DT_NEEDED, DT_HASH, DT_STRTAB, DT_SYMTAB = 0, 1, 4, 5, 6
DT_STRSZ, DT_SYMENT, DT_SONAME = 10, 11, 14
READ_WRITE = 6
EHDR_BYTES, PHDR_BYTES, SYM_BYTES, DYN_BYTES = 64, 56, 24, 16


@functools.cache
def give_second_name() -> None:
    """Make `libtensorrt_rtx.so` resolvable in this process, once TensorRT-RTX is imported.

    Raises:
        BuildError: not Linux on x86-64 or 64-bit Arm, or the loader refuses the library.
    """
    machine = ELF_MACHINES.get(platform.machine()) if sys.platform == "linux" else None
    if machine is None:
        raise BuildError(
            f"tensorrt-rtx: {sys.platform} on {platform.machine()} found; plugins can be built on "
            "Linux, x86_64 or aarch64. Build with '--operators portable'."
        )
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, ASKED_FOR)
            path.write_bytes(empty_library(ASKED_FOR, THERE, machine))
            ctypes.CDLL(str(path))
        ctypes.CDLL(ASKED_FOR)  # what the parser will do
    except OSError as err:
        raise BuildError(
            f"tensorrt-rtx: {ASKED_FOR} cannot be loaded ({err}), and its parser would end the "
            "process without it. Build with '--operators portable'."
        ) from err


def empty_library(soname: str, needed: str, machine: int) -> bytes:
    """An ELF shared library of one name and one dependency, without a symbol of its own."""
    strings = b"\0" + soname.encode() + b"\0" + needed.encode() + b"\0"
    symbols = EHDR_BYTES + 3 * PHDR_BYTES
    hashes = symbols + SYM_BYTES
    text = hashes + 16
    dynamic = -(-(text + len(strings)) // DYN_BYTES) * DYN_BYTES
    entries = (
        (DT_NEEDED, 1 + len(soname) + 1),
        (DT_SONAME, 1),
        (DT_HASH, hashes),
        (DT_STRTAB, text),
        (DT_SYMTAB, symbols),
        (DT_STRSZ, len(strings)),
        (DT_SYMENT, SYM_BYTES),
        (DT_NULL, 0),
    )
    end = dynamic + DYN_BYTES * len(entries)
    # type 3: a shared object; version 1; three program headers follow this one; no sections
    identity = b"\x7fELF\2\1\1"
    header = struct.pack("<16sHHI", identity, 3, machine, 1)
    header += struct.pack("<QQQI", 0, EHDR_BYTES, 0, 0)
    header += struct.pack("<HHHHHH", EHDR_BYTES, PHDR_BYTES, 3, 64, 0, 0)
    # the loader writes into the dynamic section; without the third header the stack would become
    # executable
    header += _segment(PT_LOAD, 0, end, 0x1000)
    header += _segment(PT_DYNAMIC, dynamic, DYN_BYTES * len(entries), 8)
    header += _segment(PT_GNU_STACK, 0, 0, 16)
    one_empty_bucket = struct.pack("<IIII", 1, 1, 0, 0)
    body = (header + bytes(SYM_BYTES) + one_empty_bucket + strings).ljust(dynamic, b"\0")
    return body + b"".join(struct.pack("<qQ", *entry) for entry in entries)


def _segment(kind: int, offset: int, size: int, alignment: int) -> bytes:
    """A program header of bytes that lie in memory where they lie in the file."""
    at = (offset, offset, offset)
    return struct.pack("<IIQQQQQQ", kind, READ_WRITE, *at, size, size, alignment)
