"""Data sheets as they ship, and figures of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrt.export.roofline.gpus import DATA_SHEETS, gpu, gpus_named, shipped_gpus
from maskrt.runtime.errors import InputError


def test_every_row_has_figures_that_fit_each_other_and_a_source() -> None:
    rows = shipped_gpus()
    assert list(rows) == [
        *("t4", "orin", "orin-nx", "rtx4060", "rtx4090", "rtx5090"),
        *("l4", "a100", "h100", "h200", "b200"),
    ]
    for row in rows.values():
        assert len(row.source) > 40
        assert any(year in row.source for year in map(str, range(2018, 2027)))
        # whole tensor cores: each halving of a type doubles them, GeForce's INT8 sums twice that
        ratio = row.tera_ops["int8"] / row.tera_ops["fp16"]
        assert ratio == pytest.approx(4 if "GeForce" in row.name else 2, rel=0.01)
        assert row.tera_ops["fp16"] > row.tera_ops["fp32"]
        if "tf32" in row.tera_ops:
            assert row.tera_ops["fp16"] / row.tera_ops["tf32"] == pytest.approx(2, rel=0.03)
        # GeForce's FP8 sums in FP32 at half the rate of INT8
        if "fp8" in row.tera_ops:
            assert row.tera_ops["fp8"] == pytest.approx(row.tera_ops["fp16"] * 2, rel=0.01)


@pytest.mark.parametrize(
    ("name", "sms", "operations", "mhz", "precision"),
    [
        ("t4", 40, 1024, 1590, "fp16"),
        ("orin", 16, 4096, 1300, "int8"),
        ("orin-nx", 8, 2048, 918, "fp16"),
        ("rtx4060", 24, 512, 2460, "fp16"),
        ("rtx4090", 128, 2048, 2520, "int8"),
        ("rtx5090", 170, 512, 2407, "fp16"),
        ("l4", 58, 1024, 2040, "fp16"),
        ("a100", 108, 2048, 1410, "fp16"),
        ("h100", 132, 4096, 1830, "fp16"),
    ],
)
def test_a_peak_is_its_units_at_their_clock(
    name: str, sms: int, operations: int, mhz: int, precision: str
) -> None:
    assert gpu(name).tera_ops[precision] == pytest.approx(sms * operations * mhz / 1e6, rel=0.01)


def test_several_are_named_at_once() -> None:
    assert [row.name for row in gpus_named("L4, h100")] == ["NVIDIA L4", "H100 SXM 80 GB"]


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"GPU 'l5': not known; expected t4, orin, .*, b200, or"):
        gpus_named("l4,l5")


def test_figures_of_ones_own_are_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    text = DATA_SHEETS.read_text(encoding="utf-8")
    path.write_text(text.replace("bandwidth_gb_s: 300\n", "bandwidth_gb_s: 251.5\n"))
    assert {row.bandwidth_gb_s for row in gpus_named(str(path)) if row.name == "NVIDIA L4"} == {
        251.5
    }
    assert gpu("l4").bandwidth_gb_s == 300


ROW = "mine: {name: x, tera_ops: {fp16: 1}, bandwidth_gb_s: 1, l2_mib: 0, source: me"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{ROW}, watts: 3}}", "unknown 'mine.watts'"),
        (ROW.replace(", source: me", "}"), "no 'mine.source'"),
        (f"{ROW}}}".replace("s: 1,", "s: -1,"), "mine: bandwidth_gb_s is -1; expected more than 0"),
        (f"{ROW}}}".replace("fp16: 1", "fp16: 0"), "mine: fp16 is 0; expected more than 0"),
        (f"{ROW}}}".replace("fp16", "fp4"), "mine.tera_ops has 'fp4'; expected fp32, "),
        (f"{ROW}}}".replace("l2_mib: 0", "l2_mib: -2"), "mine: l2_mib is -2; expected 0 or more"),
        ("[1, 2]", "no rows"),
        ("a: [", "while parsing"),
        ("a: !!python/object:os.x {}", "could not determine a constructor"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"mine\.yaml: no figures of GPUs \(") as refused:
        gpu(str(path))
    assert found in str(refused.value)
