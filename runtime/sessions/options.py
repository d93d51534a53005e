"""What may be asked for beside a session's name: device, threads, contexts, CUDA graph, pictures.

    load("x.engine", contexts=4, cuda_graph=False)
    x.engine@tensorrt,contexts=4,cuda_graph=off        the same on a command line

Not every session can obey every option; one that cannot refuses it (`require_obeyed`), so that
nothing which was asked for is silently left away.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ..errors import InputError

EXPECTED = {
    "device": "cpu, cuda or cuda:N",
    "threads": "a whole number, 1 or more",
    "contexts": "a whole number, 1 or more",
    "cuda_graph": "on or off",
    "pictures": "auto, cpu or gpu",
}
"""By option: the values it takes, for errors."""
_DEVICE = re.compile(r"cpu|cuda(:\d+)?")
_SWITCH = {"on": True, "off": False}
Pictures = Literal["auto", "cpu", "gpu"]
_READERS: Mapping[str, Callable[[str], Any]] = {
    "device": str,
    "threads": int,
    "contexts": int,
    "cuda_graph": _SWITCH.__getitem__,
    "pictures": str,
}


@dataclass(frozen=True)
class SessionOptions:
    """Options of one session; the defaults leave everything to it. InputError for odd values."""

    device: str | None = None
    """Where it computes: "cpu", "cuda" (the first GPU) or "cuda:N"; None is the session's own
    choice. OpenVINO runs on the CPU alone so far: names of its other devices may come here."""
    threads: int | None = None
    """CPU threads within one run, 1 or more; None is the session's own choice."""
    contexts: int = 1
    """TensorRT: how many batches may run at once, each in GPU memory of its own."""
    cuda_graph: bool = True
    """TensorRT: record a run as a CUDA graph; False queues it call by call."""
    pictures: Pictures = "auto"
    """Where pictures are placed on canvases and masks are pasted. TensorRT: "gpu" does it on the
    GPU (see `Predictor`). "auto" is "cpu" until the two were compared on real GPUs."""

    def __post_init__(self) -> None:
        """Check each value by itself; whether a session obeys it is asked when it is opened."""
        if self.device is not None and not _DEVICE.fullmatch(self.device):
            raise _refused("device", self.device)
        if self.threads is not None and self.threads < 1:
            raise _refused("threads", self.threads)
        if self.contexts < 1:
            raise _refused("contexts", self.contexts)
        if self.pictures not in get_args(Pictures):
            raise _refused("pictures", self.pictures)

    @property
    def device_kind(self) -> str | None:
        """Of `device`, "cpu" or "cuda"; None where none is named."""
        return self.device and self.device.partition(":")[0]

    @property
    def device_index(self) -> int:
        """Of `device`, N of "cuda:N"; 0 where none is named."""
        return int((self.device or "").partition(":")[2] or 0)

    def given(self) -> dict[str, Any]:
        """The options that are not the default, by name."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }

    def __str__(self) -> str:
        """As a command line writes them, "" for the defaults: "contexts=4,cuda_graph=off"."""
        return ",".join(f"{name}={_text_of(value)}" for name, value in self.given().items())

    def require_obeyed(self, where: str, names: tuple[str, ...], devices: tuple[str, ...]) -> None:
        """Check that a session can do what is asked for.

        Args:
            where: what is opened, for errors.
            names: the options that it obeys, `device` aside.
            devices: "cpu", "cuda": the kinds of device that it runs on.

        Raises:
            InputError: it cannot.
        """
        anywhere = ("device", "pictures") if self.pictures == "cpu" else ("device",)
        odd = [name for name in self.given() if name not in (*anywhere, *names)]
        if odd:
            raise InputError(
                f"{where}: option {odd[0]} found; this session takes "
                f"{', '.join(('device', *names))}. Leave {odd[0]} away, or choose another session."
            )
        if self.device is not None and self.device_kind not in devices:
            raise InputError(
                f"{where}: device {self.device} found; this session runs on {' or '.join(devices)}."
                " Choose another device or session."
            )


def options_from_words(words: Sequence[str], where: str) -> SessionOptions:
    """Options from "name=value" words; `where` is what they stand in, for errors.

    Raises:
        InputError: an unknown name, a value of another kind, or a name given twice.
    """
    values: dict[str, Any] = {}
    for word in words:
        name, _, text = word.partition("=")
        if name in values:
            raise InputError(f"{where}: {name} found twice; expected one value. Leave one away.")
        values[name] = _value_of(name, text, where)
    return SessionOptions(**values)


def _value_of(name: str, text: str, where: str) -> Any:
    if name not in _READERS:
        near = difflib.get_close_matches(name, _READERS, n=1)
        hint = f"Did you mean {near[0]}?" if near else "Choose one of these."
        known = ", ".join(_READERS)
        raise InputError(f"{where}: option '{name}' is unknown; expected {known}. {hint}")
    try:
        return _READERS[name](text)
    except (ValueError, KeyError) as err:
        raise InputError(
            f"{where}: {name}={text} found; expected {EXPECTED[name]}. Correct it."
        ) from err


def _text_of(value: Any) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def _refused(name: str, found: object) -> InputError:
    return InputError(
        f"session option {name}: {found} found; expected {EXPECTED[name]}. Correct it."
    )
