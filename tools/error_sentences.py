"""The error-to-fix table: every error sentence in the source, found without running anything.

A sentence has the form *where: what was found; what was expected. What to do.* What stands in
braces is filled in when it is raised.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("cli", "workflows", "train", "export", "engines", "eval", "runtime", "serving")


@dataclass(frozen=True)
class Sentence:
    """One `raise XError(f"...")`."""

    error: str
    """The class's name."""
    text: str
    """What went wrong, with placeholders."""
    fix: str
    """What to do: the sentences after the first; empty where the text says it itself."""
    module: str
    """Its file, from the root of the repository."""


def error_names() -> set[str]:
    """The classes of runtime/errors.py."""
    tree = ast.parse((ROOT / "runtime" / "errors.py").read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def sentences() -> list[Sentence]:
    """Every sentence, by file and line."""
    names = error_names()
    return [
        sentence
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        for sentence in _sentences_of(path, names)
    ]


def _sentences_of(path: Path, names: set[str]) -> Iterator[Sentence]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    for call in sorted(calls, key=lambda node: node.lineno):
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        if name in names and call.args and (text := _text(call.args[0])):
            found, fix = _split(text)
            yield Sentence(name, found, fix, path.relative_to(ROOT).as_posix())


def _text(node: ast.expr) -> str:
    """A string with `{name}` for what is filled in; empty for an expression that has no words."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    if not isinstance(node, ast.JoinedStr):
        return ""
    text = "".join(
        str(part.value) if isinstance(part, ast.Constant) else f"{{{_placeholder(part)}}}"
        for part in node.values
    )
    return text if any(isinstance(part, ast.Constant) for part in node.values) else ""


def _placeholder(part: ast.expr) -> str:
    """The last plain name of an expression, as "path" of `str(self.path)`."""
    names = [
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(part)
        if isinstance(node, ast.Attribute | ast.Name)
    ]
    plain = [name for name in names if name not in ("self", "str", "len", "type", "join", "err")]
    return plain[0] if plain else "reason"


def _split(text: str) -> tuple[str, str]:
    """What was found, and what to do."""
    found, point, fix = text.partition(". ")
    return found + point.strip(), fix


def error_page() -> str:
    """The page: one list a class, each sentence with its fix and its file."""
    text = (
        "# Errors and what to do\n\nEvery sentence that maskrt raises on purpose, from the source. "
        "Words in braces are filled in at run time. Search for a few words of yours.\n"
    )
    found = sentences()
    for name in sorted({sentence.error for sentence in found}):
        text += f"\n## {name}\n\n"
        text += "".join(_entry(s) for s in found if s.error == name)
    return text


def _entry(sentence: Sentence) -> str:
    fix = f"<br>**Fix:** {_literal(sentence.fix)}" if sentence.fix else ""
    return f"- {_literal(sentence.text)}{fix}<br><small>{sentence.module}</small>\n"


def _literal(text: str) -> str:
    """Text that Markdown shows as it is."""
    escaped = re.sub(r"([\\`*_\[\]#])", r"\\\1", " ".join(text.split()))
    return escaped.replace("<", "&lt;").replace(">", "&gt;")
