from __future__ import annotations

import pytest

from maskrt.runtime.errors import InputError
from maskrt.runtime.sessions.options import SessionOptions, options_from_words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["context=4"], r"^x@y: option 'context' is unknown; .* Did you mean contexts\?$"),
        (["speed=high"], "expected device, threads, contexts, cuda_graph, pictures. Choose one"),
        (["threads"], "threads= found; expected a whole number, 1 or more"),
        (["threads=four"], "threads=four found; expected a whole number"),
        (["threads=0"], "threads: 0 found; expected a whole number, 1 or more"),
        (["contexts=-1"], "contexts: -1 found; expected a whole number, 1 or more"),
        (["cuda_graph=no"], "cuda_graph=no found; expected on or off"),
        (["device=cuda:first"], "device: cuda:first found; expected cpu, cuda or cuda:N"),
        (["device="], "device:  found; expected cpu"),
        (["pictures=cuda"], "pictures: cuda found; expected auto, cpu or gpu"),
        (["threads=2", "threads=2"], "threads found twice"),
    ],
)
def test_a_wrong_option_is_told_in_one_sentence(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        options_from_words(words, "x@y")


def test_only_what_is_given_is_shown() -> None:
    assert str(SessionOptions()) == ""
    assert str(options_from_words(["cuda_graph=on", "contexts=1"], "x")) == ""
    assert str(SessionOptions("cuda:2", 4)) == "device=cuda:2,threads=4"


def test_pictures_on_the_cpu_is_obeyed_by_all_on_the_gpu_where_it_is_named() -> None:
    for pictures in ("auto", "cpu"):
        SessionOptions(pictures=pictures).require_obeyed("x", (), ("cpu",))
    asked = options_from_words(["pictures=gpu"], "x.engine@pictures=gpu")
    assert str(asked) == "pictures=gpu"
    asked.require_obeyed("x", ("pictures",), ("cuda",))
    with pytest.raises(InputError, match=r"^x: option pictures found; this session takes device"):
        asked.require_obeyed("x", ("threads",), ("cpu",))


@pytest.mark.parametrize(
    ("device", "kind", "index"),
    [(None, None, 0), ("cpu", "cpu", 0), ("cuda", "cuda", 0), ("cuda:12", "cuda", 12)],
)
def test_a_device_is_a_kind_and_an_index(device: str | None, kind: str | None, index: int) -> None:
    options = SessionOptions(device)
    assert (options.device_kind, options.device_index) == (kind, index)
