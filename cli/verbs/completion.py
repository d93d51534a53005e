"""`maskrt completion`: a script that teaches a shell this command line."""

from __future__ import annotations

from typing import Any

from ..arguments import Arguments, Result, add_verb

SHELLS = ("bash", "zsh", "tcsh")


def add(verbs: Any) -> None:
    """Its grammar."""
    sub = add_verb(verbs, "completion", 'completion script: eval "$(maskrt completion bash)"', run)
    sub.add_argument("shell", choices=SHELLS)


def run(arguments: Arguments) -> Result:
    """Print the script that shtab makes of the parser."""
    from ...runtime.errors import InputError, pip_line

    try:
        import shtab
    except ImportError as err:
        raise InputError(
            "completion: shtab is not installed; expected it, as it writes the script. "
            + pip_line("completion")
        ) from err
    print(shtab.complete(arguments.parser, arguments.shell))
    return {"shell": arguments.shell}
