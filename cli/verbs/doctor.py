"""`maskrt doctor`: what this machine can run, and the pip line for what it cannot."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..arguments import Arguments, Result, add_verb


def add(verbs: Any) -> None:
    """Its grammar."""
    add_verb(verbs, "doctor", "what this machine can run, and the pip line for what it cannot", run)


def run(arguments: Arguments) -> Result:
    """Look, and print a line or two for each finding."""
    del arguments
    from ...workflows import diagnose

    findings = diagnose()
    for finding in findings:
        print(f"{'ok     ' if finding.ok else 'missing'}  {finding.name}: {finding.found}")
        if not finding.ok:
            print(f"         {finding.purpose}; {finding.fix}")
    return {"findings": [dataclasses.asdict(finding) for finding in findings]}
