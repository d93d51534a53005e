"""What the pages make of pictures: outlines that are their masks, a switch for each instance."""

import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from maskrt.eval.report.labelled import labelled_page
from maskrt.eval.report.overlays import LONG_SIDE_PX, jpeg_of, outline_of_mask
from maskrt.eval.report.page import report_html
from maskrt.eval.report.pictures import given_picture
from maskrt.eval.report.samples import evaluation_section, samples_page, without_later


class Page(HTMLParser):
    """Tags with their attributes, and the scripts' text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.scripts, self._in_script = [], [], False
        self.feed(html)

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag == "script"

    def handle_endtag(self, tag):
        self._in_script = False

    def handle_data(self, data):
        if self._in_script:
            self.scripts.append(data)


def filled(outline, hw):
    """The outline's pixels, as a renderer fills and strokes them: even-odd, one pixel wide."""
    inside, rim = (np.zeros(hw, np.uint8) for _ in range(2))
    parts = []
    for x, y, steps in re.findall(r"M([\d.]+) ([\d.]+)l([-\d. ]+)z", outline):
        moves = np.array(steps.split(), float).reshape(-1, 2)
        corners = np.cumsum([(float(x) - 0.5, float(y) - 0.5), *moves], axis=0)
        parts.append(corners.round().astype(np.int32))
    cv2.fillPoly(inside, parts, 1)
    cv2.polylines(rim, parts, isClosed=True, color=1)
    return inside | rim


@pytest.mark.parametrize("kind", ["blob", "hole", "dots", "line", "two"])
def test_an_outline_covers_its_masks_pixels(kind):
    mask = np.zeros((40, 50), np.uint8)
    if kind in ("blob", "hole", "two"):
        cv2.ellipse(mask, (24, 20), (18, 12), 20, 0, 360, 1, -1)
    if kind == "hole":
        cv2.circle(mask, (24, 20), 5, 0, -1)
    if kind == "two":
        mask[:, 20:24] = 0
    if kind == "dots":
        mask[3, 4] = mask[39, 49] = 1
    if kind == "line":
        mask[7, 3:30] = 1
    np.testing.assert_array_equal(filled(outline_of_mask(mask), mask.shape), mask)


def test_nothing_has_no_outline():
    assert outline_of_mask(np.zeros((4, 5), np.uint8)) == ""


def test_a_large_picture_is_kept_smaller_and_its_boxes_are_not():
    image = np.zeros((100, 2 * LONG_SIDE_PX, 3), np.uint8)
    assert cv2.imdecode(np.frombuffer(jpeg_of(image), np.uint8), 1).shape == (50, LONG_SIDE_PX, 3)
    boxes = np.array([(1000, 10, 1500, 90)], np.float32)
    masks = np.zeros((1, *image.shape[:2]), np.uint8)
    picture = given_picture("wide", image, boxes, masks, [0], ["thing"])
    assert picture.image_hw == image.shape[:2]
    assert picture.views[0].overlays[0].box == (1000, 10, 1500, 90)
    assert 'viewBox="0 0 1600 100"' in samples_page("t", "n", [picture])


def test_each_instance_has_its_switch_and_what_it_draws(report):
    page = Page(report_html(report))
    switches = [one for one in page.all("input") if "id" not in one]
    instances = sum(len(view.overlays) for one in report.pictures for view in one.views)
    drawn = [one["data-instance"] for one in page.all("g") if "data-instance" in one]
    masks = [one["data-instance"] for one in page.all("path") if "data-instance" in one]
    assert len(switches) == len(drawn) == len(masks) == instances > 0
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    uses = [one.get("href") or one["xlink:href"] for one in page.all("use")]
    assert uses
    assert {use.removeprefix("#") for use in uses} <= set(ids)


def test_names_of_classes_are_escaped_in_pictures(report):
    (first, *_) = report.pictures
    (view, truth) = first.views
    named = dataclasses.replace(view.overlays[0], name="</svg><script>x")
    view = dataclasses.replace(view, overlays=(named,))
    picture = dataclasses.replace(first, title="<i>", views=(view, truth))
    page = Page(report_html(dataclasses.replace(report, pictures=(picture,))))
    assert len(page.all("script")) == len(page.scripts)
    assert not any(script == "x" for script in page.scripts)
    assert not page.all("i")


def test_a_browser_is_told_to_run_the_pages_own_scripts_alone(report, data):
    for html in (report_html(report), labelled_page(data, 2)[0], samples_page("t", "n", ())):
        page = Page(html)
        (policy,) = (one["content"] for one in page.all("meta") if "http-equiv" in one)
        digests = [hashlib.sha256(script.encode()).digest() for script in page.scripts]
        hashes = " ".join(f"'sha256-{base64.b64encode(one).decode()}'" for one in digests)
        assert len(digests) > 1
        assert policy.endswith(f"; script-src {hashes}")
        assert policy.startswith("default-src 'none'; ")


def test_evaluations_come_at_the_end_of_the_samples_and_go_again(report):
    begin = samples_page("Samples of <x>", "What it is.", report.pictures)
    assert "</main>" not in begin
    steps = [evaluation_section(step, f"{step} %", report.pictures) for step in (10, 20)]
    page = "".join([begin, *steps])
    ids = [attributes["id"] for _, attributes in Page(page).tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert without_later(page, 10) == begin + steps[0]
    assert without_later(page, 0) == begin
