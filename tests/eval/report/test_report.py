import dataclasses
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

import maskrt.eval
from maskrt.eval.coco.accuracy import AP_NAMES, AR_NAMES, Accuracy
from maskrt.eval.coco.ar import coco_ar
from maskrt.eval.machine.environment import environment, has_gpu
from maskrt.eval.parity.comparison import compare
from maskrt.eval.parity.gates import make_hop
from maskrt.eval.report.accuracy_tables import accuracy_tables, hop_tables
from maskrt.eval.report.latency_tables import NOT_MEASURED, latency_table, latency_tables
from maskrt.eval.report.page import (
    Report,
    report_html,
    report_json,
    report_tables,
    require_report,
    write_report,
)
from maskrt.eval.report.pictures import SHOWN_SCORE, example_pictures
from maskrt.eval.report.plots import recall_plot
from maskrt.eval.report.table import Table, markdown, print_table
from maskrt.eval.timing.latency import bench
from maskrt.eval.timing.runner import Candidate
from maskrt.eval.timing.turns import BenchOptions
from maskrt.runtime.errors import InputError

from .conftest import NASTY, PICTURES


@pytest.fixture
def proposals_report(report, data, predict, truth_rows, scripted, clock):
    """The report above with a model of proposals beside it: its accuracy, hop and pictures."""
    found = predict(truth_rows, windows=True)
    recall = coco_ar(data, found)
    values = {"metric": "AR", "recalls": recall.curves}
    accuracies = [
        Accuracy(name, "torch-cpu", "fp32", key, 3, *recall.average.values(), **values)
        for name, key in (("fm <b>", "hash b"), ("fm.onnx", "hash c"))
    ]
    same = {"reference_values": recall.average, "candidate_values": recall.average}
    parity = compare(found, found, metric="AR", **same)
    return dataclasses.replace(
        report,
        accuracy=(*report.accuracy, *accuracies),
        hops=(*report.hops, make_hop("fm <b>", "fm.onnx", "fp32", parity)),
        pictures=(*report.pictures, *example_pictures(data, found, ("object",), count=1)),
    )


def shown(picture):
    """How many instances the sides of a pair show."""
    return tuple(len(view.overlays) for view in picture.views)


class Page(HTMLParser):
    """Every tag, every attribute that loads something, and the text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.links, self.attributes, self.text = [], [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        loads = ("src", "href", "xlink:href", "srcset", "action", "data", "poster")
        self.links += [value for name, value in attrs if name in loads]
        self.attributes.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_page_loads_nothing_from_outside(report):
    html = report_html(report)
    page = Page(html)
    assert page.links, "pictures are data URIs and marks are references inside the page"
    assert all(link.startswith(("data:image/", "#")) for link in page.links)
    assert not {"link", "iframe", "object", "base"} & set(page.tags)
    assert "@import" not in html
    assert all(place.startswith("#") for place in re.findall(r"url\(\s*['\"]?(.)", html))


def test_names_from_users_are_escaped(report):
    html = report_html(report)
    assert "<b onclick" not in html
    assert "b" not in Page(html).tags
    assert NASTY in Page(html).text
    assert "Proof of <models>" in Page(html).text


def test_the_page_holds_every_part(report):
    page = Page(report_html(report))
    for part in ("Accuracy hop by hop", "Latency", "Examples", "Measured on", "maskrt eval a.onnx"):
        assert part in page.text
    assert page.tags.count("svg") == 3 + 4  # model, pipeline, phases; two pairs
    assert page.tags.count("image") == 2  # a pair has its picture once
    assert "1 of 1 accuracy gates failed." in page.text


def test_recall_and_precision_stand_in_tables_of_their_own(proposals_report):
    tables = {table.title: table for table in report_tables(proposals_report)}
    assert tables["Accuracy"].columns[3:] == AP_NAMES
    assert tables["Accuracy of proposals"].columns[3:] == AR_NAMES
    assert len(tables["Accuracy"].rows) == 2
    assert len(tables["Accuracy of proposals"].rows) == 4
    assert tables["Accuracy hop by hop"].columns[1:4] == ("gate", "ΔAP box", "ΔAP mask")
    assert tables["Accuracy of proposals hop by hop"].columns[2:4] == ("ΔAR box", "ΔAR mask")
    assert tables["Accuracy of proposals hop by hop"].rows[0][1:5] == (
        "fp32 passed",
        "+0.00",
        "+0.00",
        "100.00 %",
    )
    assert "AR@1000" in " ".join(tables["Accuracy of proposals hop by hop"].notes)


def test_the_change_of_recall_farthest_from_zero_is_shown(predict):
    parity = compare(predict([], windows=True), predict([], windows=True), metric="AR")
    changes = {"AR@10": 0.1, "AR@100": -0.4, "AR@1000": 0.2}
    parity = dataclasses.replace(parity, box_changes=changes)
    (table,) = hop_tables([make_hop("a", "b", "fp16", parity)])
    assert table.rows[0][1:4] == ("fp16 FAILED", "-0.40", "n/a")
    assert any("box AR@100 changed by -0.40" in note for note in table.notes)


def test_a_latency_table_says_which_accuracy_it_shows(report, proposals_report):
    assert latency_table(report.latency, ()).columns[-1] == "box / mask accuracy"
    assert latency_table(report.latency, report.accuracy).columns[-1] == "box / mask AP"
    recalls = proposals_report.accuracy[1:]
    table = latency_table(report.latency, recalls)
    assert table.columns[-1] == "box / mask AR@100"
    assert [row[-1] for row in table.rows] == [NOT_MEASURED, "100.0 / 100.0"]
    table = latency_table(report.latency, proposals_report.accuracy)
    assert table.columns[-1] == "box / mask accuracy"
    assert [row[-1] for row in table.rows] == ["AP 100.0 / 100.0", "AR@100 100.0 / 100.0"]


def test_recall_curves_are_on_the_page_where_there_are_proposals(report, proposals_report):
    assert "Recall of proposals" not in report_html(report)
    page = Page(report_html(proposals_report))
    for part in ("Recall of proposals over IoU", "Best 10 proposals", "Best 1000 proposals"):
        assert part in page.text
    assert page.tags.count("svg") == 6 + 6  # three curves; model, pipeline, phases; three pairs
    assert "fm <b>" in page.text
    assert "b" not in page.tags
    assert page.tags.count("image") == 3
    assert "covers each object best" in page.text
    assert "One colour per class" in page.text


def test_each_example_names_its_network_and_says_when_nothing_is_drawn(
    proposals_report, data, predict, truth_rows
):
    faint = predict([(*row[:6], 0.1) for row in truth_rows])
    pictures = [
        picture
        for name, found in (("lsc <b>", predict(truth_rows)), ("baseline", faint))
        for picture in example_pictures(data, found, data.class_names, count=2, network=name)
    ]
    page = Page(report_html(dataclasses.replace(proposals_report, pictures=tuple(pictures))))
    assert page.text.index("lsc <b>") < page.text.index("predicted: 2")
    assert page.text.index("baseline") < page.text.rindex("predicted: none scored 0.5 or more")
    assert "predicted: 0" not in page.text
    assert "b" not in page.tags


def test_long_names_keep_both_ends_in_figures(proposals_report):
    name = "fastmask_r39_one_stream_trained_on_everything_there_was-fp16.onnx@onnxruntime-cpu"
    (_, accuracy, _) = proposals_report.accuracy
    svg = recall_plot(
        [dataclasses.replace(accuracy, name=name, backend="cpu, FP16 emulated")], "AR@10"
    )
    assert name not in svg
    assert "fastmask_r39_one_stream_tra…" in svg
    assert "16.onnx@onnxruntime-cpu" in svg
    assert "(cpu, FP16 emulated)" in svg


def test_an_interval_and_what_it_leaves_open_stand_in_the_table(report):
    (hop,) = report.hops
    intervals = {"box_intervals": {"AP": (-1.0, 2.0)}, "mask_intervals": {"AP": None}}
    parity = dataclasses.replace(hop.parity, **intervals)
    (table,) = hop_tables([make_hop("a", "b", "fp16", parity)])
    assert table.rows[0][2].endswith(" [-1.00, +2.00]")
    assert "[" not in table.rows[0][3]
    assert "a → b: box AP is known to ±1.50 points on 3 pictures" in " ".join(table.notes)
    values = report_json(dataclasses.replace(report, hops=(make_hop("a", "b", "fp16", parity),)))
    assert values["hops"][0]["parity"]["box_intervals"] == {"AP": [-1.0, 2.0]}


def test_cocos_limit_of_detections_is_said_where_it_binds(report):
    (accuracy,) = report.accuracy
    assert "maxDets" not in " ".join(accuracy_tables([accuracy])[0].notes)
    (table,) = accuracy_tables([dataclasses.replace(accuracy, crowded=2)])
    assert "2 pictures hold more than 100 objects of one class" in table.notes[-1]


def test_curves_are_in_the_json(proposals_report, tmp_path):
    _, json_path = write_report(proposals_report, tmp_path / "report.html")
    accuracy = json.loads(json_path.read_text())["accuracy"]
    assert [one["metric"] for one in accuracy] == ["AP", "AR", "AR"]
    assert accuracy[1]["recalls"]["mask"]["AR@10"] == pytest.approx([100.0] * 10)
    assert accuracy[0]["recalls"] == {}


def test_a_curve_without_objects_draws_nothing(proposals_report):
    bare = dataclasses.replace(
        proposals_report.accuracy[1], recalls={k: {"AR@10": []} for k in ("box", "mask")}
    )
    assert recall_plot([bare], "AR@10").startswith("<svg")


def test_proposals_are_drawn_where_they_cover_an_object(data, predict, truth_rows):
    """Of two objects in picture 11 one is covered exactly, one with IoU 1/3; a better cover of it
    stands behind the best hundred."""
    i, c, x, y, w, h, _ = truth_rows[1]
    rows = [truth_rows[0], (i, c, x + w // 2, y, w, h, 0.95)]
    rows += [(11, 0, 0, 0, 4, 4, 0.5 - 0.001 * n) for n in range(100)]
    (picture,) = example_pictures(data, predict(rows, (11,), windows=True), ("object",), count=1)
    assert (picture.metric, *shown(picture)) == ("AR", 1, 2)
    rows = [*rows[:2], truth_rows[1]]
    (better,) = example_pictures(data, predict(rows, (11,), windows=True), ("object",), count=1)
    assert shown(better) == (2, 2)
    assert better.views[0].overlays[0] == picture.views[0].overlays[0]
    (nothing,) = example_pictures(data, predict([], (12,), windows=True), ("object",), count=1)
    assert shown(nothing) == (0, 3)


def test_what_draws_the_page_is_asked_for_by_its_extra(monkeypatch):
    require_report()
    monkeypatch.setattr(
        "maskrt.eval.report.page.find_spec", lambda name: None if name == "matplotlib" else name
    )
    with pytest.raises(
        InputError, match=r'report: matplotlib not installed; .*pip install "\.\[report'
    ):
        require_report()


def test_an_empty_report_is_still_a_page():
    page = Page(report_html(Report(title="Nothing", dataset="None.", environment={})))
    assert "svg" not in page.tags
    assert "Accuracy" not in page.text


def test_both_files_are_written_and_the_json_holds_the_samples(report, tmp_path):
    html_path, json_path = write_report(report, tmp_path / "out" / "report.html")
    assert html_path.read_text().startswith("<!doctype html>")
    values = json.loads(json_path.read_text())
    assert np.shape(values["latency"]["backends"][1]["samples_ms"]["model"]) == (10, 1)
    assert values["accuracy"][0]["sha256"] == "hash a"
    assert values["hops"][0]["passed"] is False


def test_further_tables_stand_on_the_page_in_markdown_and_in_the_json(report, tmp_path):
    more = Table("More <b>", ("model", "value"), (("a | b", "17"),), ("A note.",), keys=1)
    report = dataclasses.replace(report, tables=(more,), details={"more": [17]})
    html_path, json_path = write_report(report, tmp_path / "report.html")
    assert "More <b>" in Page(html_path.read_text()).text
    text = html_path.with_suffix(".md").read_text()
    assert "### More <b>\n\n| model | value |\n| --- | --- |\n| a \\| b | 17 |\n\nA note." in text
    assert text.startswith("# Proof of <models>\n\nshapes val, 3 pictures. Measured ")
    assert "Two sentences & one mark." in text
    assert json.loads(json_path.read_text())["details"] == {"more": [17]}


def test_batches_have_a_table_each_and_one_per_picture(scripted, clock):
    candidates = [
        Candidate(
            f"b{batch}.onnx", scripted(on_run=lambda ms=ms: clock.advance_ms(ms), batch=batch), ""
        )
        for batch, ms in ((4, 10.0), (1, 4.0))
    ]
    result = bench(candidates, PICTURES, BenchOptions(samples=5))
    tables = latency_tables(result, (), gpu=False)
    assert [table.title for table in tables] == [
        "Latency",
        "Latency, batch 4",
        "Per picture, by batch",
    ]
    assert [row[0] for table in tables[:2] for row in table.rows] == ["b1.onnx", "b4.onnx"]
    assert [row[2:] for row in tables[2].rows] == [("1", "4.00", "4.00"), ("4", "2.50", "2.50")]
    assert sum("No NVIDIA GPU" in note for table in tables for note in table.notes) == 1
    assert [table.title for table in latency_tables(result.of_batch(1), ())] == ["Latency"]


def test_a_folder_that_cannot_be_written_leaves_nothing(report, tmp_path):
    (tmp_path / "out").write_text("a file, not a folder")
    with pytest.raises(InputError, match="could not be written"):
        write_report(report, tmp_path / "out" / "report.html")
    assert [path.name for path in tmp_path.glob("out*")] == ["out"]


def test_a_latency_row_shows_the_accuracy_of_the_same_bytes_only(report):
    table = latency_table(report.latency, report.accuracy)
    assert table.rows[0][-1] == "100.0 / 100.0"
    assert table.rows[1][-1] == NOT_MEASURED
    assert table.rows[1][2] == "n/a"  # engine scope
    assert table.rows[1][-2] == "2.00x 2.00-2.00"


@pytest.mark.parametrize(("gpu", "lines"), [(False, 1), (True, 0)])
def test_without_a_gpu_one_line_says_what_one_would_add(report, gpu, lines):
    notes = latency_table(report.latency, (), gpu=gpu).notes
    assert sum("No NVIDIA GPU" in note for note in notes) == lines


def test_throttling_and_restless_warm_up_are_said(scripted, clock):
    candidate = Candidate("a.onnx", scripted(on_run=lambda: clock.advance_ms(2.0)), "h")
    options = BenchOptions(samples=10, warmup_calls=3)
    result = bench([candidate], PICTURES, options, clock_probe=lambda: {"throttled": ["power cap"]})
    notes = " ".join(latency_table(result, ()).notes)
    assert "throttled during the run: power cap." in notes
    assert "Not yet steady when the warm-up ended: a.onnx (3 calls)." in notes


LONG = "lsc_mask_rcnn_tiny.safetensors@torch-compile"
WIDE = Table(
    "Latency",
    ("model", "backend", "of", "model ms", "pipeline ms", "gate"),
    (
        (LONG, "torch-cpu-compile", "box", "12.34 ± 0.12", "14.11 ± 0.20", "fp32 FAILED"),
        (LONG, "torch-cpu-compile", "mask", "6.34 ± 0.12", "8.11 ± 0.20", "fp32 passed"),
    ),
    ("FAILED a gate: why.",),
)


def printed(table, width):
    text = io.StringIO()
    print_table(table, Console(file=text, width=width))
    return [line.rstrip() for line in text.getvalue().splitlines()]


def test_a_wide_terminal_shows_names_and_values_in_one_line():
    title, header, first, second, note, _ = printed(WIDE, 200)
    assert (title, note) == ("Latency", "FAILED a gate: why.")
    assert header.split() == ["model", "backend", "of", "model", "ms", "pipeline", "ms", "gate"]
    assert first.startswith(f"{LONG}  torch-cpu-compile   box  12.34 ± 0.12  ")
    assert second.split()[0] == "mask"  # a name is said once
    assert len(first) == len(second)  # values stand to the right


def test_a_narrow_terminal_shows_names_whole_above_their_values():
    lines = printed(WIDE, 80)
    assert lines[2] == f"{LONG}  torch-cpu-compile"
    assert lines[3].split() == ["box", "12.34", "±", "0.12", "14.11", "±", "0.20", "fp32", "FAILED"]
    assert len(lines[1]) == len(lines[3]) == len(lines[4])  # one column for all groups
    assert sum(LONG in line for line in lines) == 1


def test_every_table_of_a_report_fits_80_columns(proposals_report):
    lines = [line for table in report_tables(proposals_report) for line in printed(table, 80)]
    assert any(NASTY in line for line in lines)
    assert any("FAILED" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_markdown_rows_have_one_cell_per_column(report):
    table = report_tables(report)[0]
    rows = [line for line in markdown(table).splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(table.rows)
    assert {row.count("|") for row in rows} == {len(table.columns) + 1}


def test_example_pairs_are_drawn_on_both_sides(data, predict, truth_rows):
    faint = [(*row[:6], SHOWN_SCORE - 0.1) for row in truth_rows]
    (picture, _) = example_pictures(data, predict(faint), data.class_names, count=2)
    assert shown(picture) == (0, 2)
    assert picture.jpeg[:3] == b"\xff\xd8\xff"
    (first, last) = example_pictures(data, predict(truth_rows), data.class_names, count=2)
    assert (first.title, last.title) == ("11.png", "13.png")
    assert shown(first) == (2, 2)
    found, truth = (view.overlays for view in first.views)
    assert sorted(one.colour for one in found) == sorted(one.colour for one in truth)
    assert sorted(one.outline for one in found) == sorted(one.outline for one in truth)


def test_the_environment_is_json_and_hashes_artefacts(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"abc")
    values = json.loads(json.dumps(environment([tmp_path / "a.onnx"])))
    assert values["artefacts"]["a.onnx"].startswith("ba7816bf")  # SHA-256 of "abc"
    assert values["versions"]["numpy"] == np.__version__
    assert values["cores"] >= 1
    assert (values["gpus"] != "none") == has_gpu()


def test_everything_exported_exists_once():
    assert len(set(maskrt.eval.__all__)) == len(maskrt.eval.__all__)
    assert all(hasattr(maskrt.eval, name) for name in maskrt.eval.__all__)


def test_importing_eval_loads_neither_torch_nor_backends():
    heavy = ("torch", "onnxruntime", "tensorrt", "matplotlib", "pycocotools", "jinja2", "cv2")
    code = f"import sys, maskrt.eval; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
