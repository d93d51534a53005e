"""The report's templates, filled in: every text escaped, every name in them known."""

from __future__ import annotations

import base64
from typing import Any


def rendered(template: str, **values: Any) -> str:
    """A template of this folder as text that refers to nothing outside itself."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("maskrt.eval.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return templates.get_template(template).render(data_uri=_data_uri, **values)


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
