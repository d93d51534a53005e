"""The report as a person uses it, in a Chromium: tables sorted, instances off, a picture larger."""

import dataclasses

import pytest

from maskrt.eval.report.page import write_report
from maskrt.eval.report.table import Table

ROWS = (("a", "x", "9.5 ± 0.1"), ("b", "x", "n/a"), ("a", "y", "12.0 ± 3"), ("a", "x", "(1.5x)"))
TABLE = "[...document.querySelectorAll('table.values')].at(-1)"
CELLS = f"{TABLE}.tBodies[0].innerText"


@pytest.fixture
def opened(report, chromium, tmp_path):
    table = Table("More", ("model", "backend", "ms"), ROWS)
    report = dataclasses.replace(report, tables=(table,))
    path, _ = write_report(report, tmp_path / "report.html")
    chromium.errors.clear()
    chromium.open(path.as_uri())
    chromium.wait("document.readyState === 'complete'")
    yield chromium
    assert not chromium.errors


def test_a_table_is_sorted_by_what_its_numbers_are(opened):
    def sort(column):
        opened.run(
            f"[...document.querySelectorAll('thead:has(.keys)')].at(-1).querySelectorAll('button')[{column}].click()"
        )
        return " ".join(opened.run(CELLS).split())

    measured = " ".join(opened.run(CELLS).split())
    up, down, again = sort(1), sort(1), sort(1)
    assert up == "a x (1.5x) 9.5 ± 0.1 a y 12.0 ± 3 b x n/a"
    assert down == "a y 12.0 ± 3 a x 9.5 ± 0.1 (1.5x) b x n/a"
    assert again == measured
    assert sort(0) == "a x 9.5 ± 0.1 (1.5x) a y 12.0 ± 3 b x n/a"


def test_an_instance_is_switched_off_and_all_are_on_again(opened):
    drawn = """[...document.querySelector('.view').querySelectorAll('[data-instance]')]
        .filter((one) => one.getClientRects().length).length"""
    assert opened.run(drawn) == 4  # two masks, two boxes
    opened.run("document.querySelector('.switches input').click()")
    assert opened.run(drawn) == 2
    caption = "document.querySelector('.view figcaption input')"
    assert opened.run(f"{caption}.indeterminate")
    opened.run(f"{caption}.click()")
    assert opened.run(drawn) == 4
    opened.run("document.querySelector('#show-masks').click()")
    assert opened.run(drawn) == 2


def test_a_picture_is_enlarged_in_both_views_and_put_back(opened):
    boxes = """[...document.querySelectorAll('.picture')[0].querySelectorAll('svg')]
        .map((one) => one.getAttribute('viewBox'))"""
    before = opened.run(boxes)
    opened.run("document.querySelector('.enlarge').click()")
    for key, code in (("+", 187), ("+", 187), ("ArrowRight", 39)):
        opened.press(key, code)
    boxes = boxes.replace("('.picture')[0]", "('dialog .picture')[0]")
    here = opened.run(boxes)
    assert here[0] == here[1] != before[0]
    width = float(here[0].split()[2])
    assert width == pytest.approx(float(before[0].split()[2]) / 1.5**2)
    opened.run("document.querySelector('dialog p button:last-child').click()")
    opened.wait("!document.querySelector('dialog .picture')")
    assert opened.run(boxes.replace("dialog ", "main ")) == before
