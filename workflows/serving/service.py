"""What `maskrt serve` does: models opened under names, and the service in front of them."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from ...runtime.bundle import INDEX
from ...runtime.errors import InputError
from ...runtime.sessions.open import ModelRef
from ...serving.settings import ServeSettings, read_token
from ..open import model_ref, open_model


def serve_models(
    models: Sequence[str | Path | ModelRef],
    settings: ServeSettings,
    on_ready: Callable[[str, Sequence[str]], None],
    token_file: Path | None = None,
) -> None:
    """Serve models over HTTP until SIGTERM or Ctrl-C; to be called in the main thread.

    Args:
        models: as `load` takes them; requests that name none go to the first.
        settings: address and limits.
        on_ready: told the address and the models' names once requests are answered.
        token_file: holds the token that requests must have; None takes the settings'.

    Raises:
        InputError: two models of one name, an address that cannot be listened on, a file without
            token, and as `load`.
        SessionError: a model cannot run on this machine.
    """
    from ...serving.server import listening_socket, serve
    from ...serving.web.service import Opened

    refs = named(models)
    if token_file is not None:
        settings = dataclasses.replace(settings, token=read_token(token_file))
    with listening_socket(settings.host, settings.port) as bound, contextlib.ExitStack() as stack:
        opened = {
            name: Opened(stack.enter_context(open_model(ref)), ref.options.contexts)
            for name, ref in refs.items()
        }
        host, port = bound.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        serve(opened, settings, bound, lambda: on_ready(address, list(opened)))


def named(models: Sequence[str | Path | ModelRef]) -> dict[str, ModelRef]:
    """Models by the names that requests call them by: the file's, then session and options.

    "out/net.onnx" is "net", "net.onnx@openvino,threads=4" is "net-openvino-threads-4".

    Raises:
        InputError: two have one name, and as `model_ref`.
    """
    found: dict[str, ModelRef] = {}
    for ref in map(model_ref, models):
        file = ref.path.absolute().parent if ref.path.name == INDEX else ref.path
        after = str(ref).removeprefix(str(ref.path))
        name = re.sub(r"[^\w.-]+", "-", (file.stem + after).replace("=", "-")).strip("-")
        if name in found:
            raise InputError(
                f"{ref}: the name '{name}' is {found[name]}'s already; expected different names. "
                "Rename one of the files."
            )
        found[name] = ref
    return found
