"""What goes wrong in maskrt, as one small tree.

    MaskRTError
    ├── InputError      a file, picture or option is missing, broken or of the wrong kind
    ├── ConfigError     a recipe or an override names an unknown key or an impossible value
    ├── ContractError   arrays do not have the name, shape or dtype the artefact's contract states
    ├── TrainError      a training run could not start, resume or go on
    ├── ExportError     a checkpoint could not become a verified ONNX file
    ├── BuildError      an ONNX file could not become an engine
    ├── SessionError    an artefact could not be opened or run on this machine
    └── GateError       an accuracy gate failed (the only one with exit code 1)

Every message is one sentence of the form *where: what was found; what was expected. What to do.*
The command line prints it as it is and leaves with `exit_code`.
"""


class MaskRTError(Exception):
    """Base of every error raised on purpose; `exit_code` is what the command line returns."""

    exit_code = 2


class MaskRTWarning(RuntimeWarning):
    """What was asked for is done another way, with the same result; its text is as an error's."""


class InputError(MaskRTError):
    """A file, picture or option is missing, broken or of the wrong kind."""


class ConfigError(MaskRTError):
    """A recipe or an override names an unknown key or an impossible value."""


class ContractError(MaskRTError):
    """Arrays do not have the name, shape or dtype that the artefact's contract states."""


class TrainError(MaskRTError):
    """A training run could not start, resume or go on."""


class ExportError(MaskRTError):
    """A checkpoint could not become a verified ONNX file."""


class BuildError(MaskRTError):
    """An ONNX file could not become an engine."""


class SessionError(MaskRTError):
    """An artefact could not be opened or run on this machine."""


class GateError(MaskRTError):
    """An accuracy gate failed."""

    exit_code = 1


def first_line(err: BaseException) -> str:
    """What another library's error says first, 300 characters at most, to be quoted in ours."""
    return str(err).strip().partition("\n")[0].strip()[:300] or type(err).__name__


def pip_line(extra: str) -> str:
    """What to do about a package that is missing; `extra` is "" for those always installed.

    maskrt is on no package index, so its extras are installed from a clone.
    """
    clone = f".[{extra}]" if extra else "."
    return f'Run in a clone of maskrt: pip install "{clone}"'
