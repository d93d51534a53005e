"""What each module multiplies in, as table and picture."""

from maskrt.eval.report.page import Report, report_html, report_json
from maskrt.eval.report.plots import precision_plot
from maskrt.eval.report.precision_map import (
    MOST_MODULES,
    Product,
    precision_map_of,
    precision_table,
)


def test_modules_are_added_up_in_the_order_in_which_they_run():
    products = [
        Product("model.stem", "int8", 600),
        Product("model.head", "fp16", 100),
        Product("model.stem", "fp32", 200),
        Product("(rest)", "fp32", 100),
    ]
    found = precision_map_of("a <b>.onnx", products)
    assert [(one.name, one.macs) for one in found.modules] == [
        ("model.stem", {"int8": 600, "fp32": 200}),
        ("model.head", {"fp16": 100}),
        ("(rest)", {"fp32": 100}),
    ]
    assert found.whole.macs == {"fp32": 300, "fp16": 100, "int8": 600}
    table = precision_table([found])
    assert table.columns[4:] == ("fp32", "fp16", "int8")
    assert table.rows[0][1:] == ("all", "0.0", "100.0%", "30%", "10%", "60%")
    assert table.rows[1][3:] == ("80.0%", "25%", "-", "75%")


def test_small_modules_are_told_under_the_one_around_them():
    """A wide module keeps its parts, twenty narrow ones become one."""
    products = [Product(f"model.narrow.{n}.conv", "fp16", 1) for n in range(20)]
    products += [Product(f"model.wide.{n}", "fp16", 1000) for n in range(5)]
    found = precision_map_of("x", products)
    names = [one.name for one in found.modules]
    assert names == ["model.narrow", *(f"model.wide.{n}" for n in range(5))]
    assert found.modules[0].macs == {"fp16": 20}
    flat = precision_map_of("x", [Product(f"n{n}", "fp16", 1) for n in range(2 * MOST_MODULES)])
    assert len(flat.modules) == 2 * MOST_MODULES  # in no module together


def test_the_page_has_the_map_and_the_json_its_values():
    found = precision_map_of("a <b>.onnx", [Product("model.stem", "fp16", 600)])
    report = Report("Map", "None.", {}, precision=(found,))
    html = report_html(report)
    assert "Precision map" in html
    assert "Precision by module" in html
    assert "a <b>" not in html
    assert report_json(report)["precision"][0]["modules"][0]["macs"] == {"fp16": 600}
    svg = precision_plot([found])
    assert "FP16" in svg
    assert "FP32" not in svg
