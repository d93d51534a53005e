"""What a run says: lines where there is no terminal, a bar with the same numbers where there is."""

import io
import re

import pytest
from rich.console import Console

from maskrt.train.recipes.sections import SolverConfig
from maskrt.train.watch.terminal import FEW_STEPS, Terminal, spoken

SOLVER = SolverConfig(steps=60, batch=4)
TERMS = {"rpn_box": 0.25, "mask": 0.5}


def told(*, terminal: bool, shown: bool = True, steps: int = 60) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120, color_system=None)
    with Terminal("tiny", SOLVER, 0, shown=shown, console=console) as said:
        for step in range(1, steps + 1):
            said.step_begins()
            assert said.stepped(step, 0.02, TERMS) > 0
        with said.paused() as drawn:
            assert drawn == (terminal and shown)
        said.say(["[done]"])
    return stream.getvalue()


def test_without_a_terminal_there_is_a_line_every_twenty_steps() -> None:
    foretold, *lines, done = told(terminal=False).splitlines()
    assert foretold == f"about 0 s for the other {60 - FEW_STEPS} steps of 4 pictures"
    numbers = r"lr 0\.02  loss 0\.75 \(rpn_box 0\.25, mask 0\.5\)  [\d.e+]+ pictures/s  0 s left"
    assert len(lines) == 3
    for step, line in zip((20, 40, 60), lines, strict=True):
        assert re.fullmatch(rf"step {step}/60  {numbers}", line), line
    assert done == "[done]"


def test_a_terminal_shows_the_same_on_a_bar() -> None:
    text = told(terminal=True)
    assert "60/60" in text
    assert "lr 0.02  loss 0.75 (rpn_box 0.25, mask 0.5)" in text
    assert re.search(r"pictures/s 0 s left", text)
    assert "step 20/60" not in text


def test_nothing_is_said_unasked() -> None:
    assert told(terminal=False, shown=False) == told(terminal=True, shown=False) == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59, "59 s"), (719, "12 min"), (7800, "2 h 10 min"), (273600, "3 d 4 h")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert spoken(seconds) == words
