"""Make the operators' plugins known in this process, where a build or an engine needs them.

| engine         | to build                            | to open                            |
|----------------|-------------------------------------|------------------------------------|
| `tensorrt`     | `tensorrt_aot`: kernels in the plan | nothing                            |
| `tensorrt-rtx` | `tensorrt_rtx_v3`: names in it only | the same, in the process that runs |
"""

from __future__ import annotations

from pathlib import Path

from ...runtime.errors import BuildError, SessionError
from ...runtime.files import require_file, sha256_of
from ...runtime.gpu.kernels.shipped import FOLDER
from ...runtime.sessions.trt.engine import calls_plugins
from ...runtime.sessions.trt.tensorrt_module import import_tensorrt
from ...runtime.sidecar import Sidecar, read_sidecar
from ..flavours import Flavour

FIRST_WITH_AOT = (10, 9)


def register_for_build(flavour: Flavour) -> None:
    """Register the plugins that the parser will look for; calls may repeat.

    Raises:
        BuildError: this flavour has no such plugins, or its parser would end the process.
    """
    if flavour.name == "tensorrt-rtx":
        from .tensorrt_rtx_v3 import register_plugins

        register_plugins()
    elif flavour.version >= FIRST_WITH_AOT:
        _import_aot(flavour)
    else:
        raise BuildError(
            f"{flavour}: no ahead-of-time plugins found; expected "
            f"{'.'.join(map(str, FIRST_WITH_AOT))} or later for '--operators plugin'. "
            "Build with '--operators portable'."
        )


def _import_aot(flavour: Flavour) -> None:
    """Importing registers."""
    try:
        from . import tensorrt_aot  # noqa: F401
    except ImportError as err:
        raise BuildError(
            f"{flavour}: its Python layer for plugins does not load ({err}); expected "
            "tensorrt.plugin. Install tensorrt again, or build with '--operators portable'."
        ) from err


def register_for_engine(engine_path: Path) -> None:
    """Register the plugins that an engine calls, before it is opened; most engines call none.

    Raises:
        InputError: no such file, or not an `.engine`.
        SessionError: the sidecar is missing or foreign; TensorRT-RTX is missing here; the engine
            was built with other kernels than this package's.
    """
    require_file(engine_path, "an engine", (".engine",))
    sidecar = read_sidecar(engine_path)
    if not calls_plugins(sidecar):
        return
    import_tensorrt(sidecar.fingerprint.runtime)  # else the import below fails without a pip line
    _require_same_kernels(engine_path, sidecar)
    from .tensorrt_rtx_v3 import register_plugins

    try:
        register_plugins()
    except BuildError as err:
        raise SessionError(f"{engine_path}: {err}") from err


def _require_same_kernels(engine_path: Path, sidecar: Sidecar) -> None:
    """The kernels are not in the engine: what was measured must be what runs."""
    shipped = {path.name: sha256_of(path) for path in FOLDER.glob("*.ptx")}
    built = sidecar.fingerprint.kernels_sha256
    changed = [name for name in built if shipped.get(name) != built[name]]
    if changed:
        raise SessionError(
            f"{engine_path}: built with other kernels than this maskrt has "
            f"({', '.join(sorted(changed)[:3])}); expected the same. "
            f"Build it again: {sidecar.rebuild_command(engine_path)}"
        )
