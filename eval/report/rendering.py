"""The pages' templates, filled in: every text escaped, every name in them known.

A page is one file that loads nothing, and its browser is told so: no script runs but those of this
folder, by their hashes, so that not even a text which escaping missed could do anything.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

SCRIPTS = ("contents.js", "pictures.js", "enlarged.js", "sorting.js")
"""Of every page; each works on what it finds there, and a page is whole without them."""


def rendered(template: str, **values: Any) -> str:
    """A template of this folder as text that refers to nothing outside itself."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    templates = Environment(
        loader=PackageLoader("maskrt.eval.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    scripts = _scripts()
    templates.globals.update(
        data_uri=_data_uri, scripts=[Markup(text) for text in scripts], policy=_policy(scripts)
    )
    return templates.get_template(template).render(values)


def _scripts() -> list[str]:
    folder = Path(__file__).parent / "templates"
    return [(folder / name).read_text(encoding="utf-8") for name in SCRIPTS]


def _policy(scripts: list[str]) -> str:
    """What the page may load and run, as Content-Security-Policy has it."""
    digests = [hashlib.sha256(script.encode("utf-8")).digest() for script in scripts]
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode('ascii')}'" for digest in digests)
    inline = "img-src data:; style-src 'unsafe-inline'"
    return f"default-src 'none'; {inline}; script-src {hashes}"


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
