"""Chains of Detectron2 configs as tables of plain values, and what is refused of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from maskrt.runtime.errors import InputError
from maskrt.train.weights.detectron2.config_file import read_config

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write("folder/name.yaml", text)` under the test's folder."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_a_chain_of_three_is_one_table_the_nearest_file_first(write: Write) -> None:
    base = write("Base.yaml", "MODEL:\n  PIXEL_STD: [2, 2, 2]\n  RPN: {NMS_THRESH: 0.6, X: 1}\n")
    middle = write("zoo/c4.yaml", "_BASE_: ../Base.yaml\nMODEL: {RPN: {NMS_THRESH: 0.65}}\n")
    own = write("zoo/own/mine.yaml", '_BASE_: "../c4.yaml"\nINPUT: {FORMAT: "RGB"}\n')
    config = read_config(own)
    assert config.settings == {
        "MODEL.PIXEL_STD": [2, 2, 2],
        "MODEL.RPN.NMS_THRESH": 0.65,
        "MODEL.RPN.X": 1,
        "INPUT.FORMAT": "RGB",
    }
    files = {"mine.yaml": own, "../c4.yaml": middle, "../../Base.yaml": base}
    expected = {k: hashlib.sha256(v.read_bytes()).hexdigest() for k, v in files.items()}
    assert config.files == expected


def test_of_several_bases_the_last_one_says_it(write: Write) -> None:
    write("a.yaml", "SEED: 1\nVERSION: 2\n")
    write("b.yaml", "SEED: 2\n")
    config = read_config(write("c.yaml", "_BASE_: [a.yaml, b.yaml]\n"))
    assert config.settings == {"SEED": 2, "VERSION": 2}


def test_a_base_from_the_root_or_from_home_is_found(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    base = write("home/base.yaml", "SEED: 1\n")
    for name in (str(base), "~/base.yaml"):
        assert read_config(write("c.yaml", f"_BASE_: {name}\n")).settings == {"SEED": 1}


def test_text_that_python_reads_as_numbers_is_numbers(write: Write) -> None:
    text = "A: (640, 672)\nB: '1e-4'\nC: (\"coco_2017_train\",)\nD: name\nE: '(1,'\nF: [1, 2]\n"
    assert read_config(write("c.yaml", text)).settings == {
        "A": [640, 672],
        "B": 1e-4,
        "C": ["coco_2017_train"],
        "D": "name",
        "E": "(1,",
        "F": [1, 2],
    }


REFUSED = {
    "a list": ("[1, 2]", r"holds \[1, 2\]; expected a mapping"),
    "a word": ("words", "holds 'words'; expected a mapping"),
    "nothing": ("# nothing\n", "holds None; expected a mapping"),
    "broken": ("MODEL: [1", "not valid YAML"),
    "an object": ("A: !!python/object:os.Thing {}", "asks for an object .*python/object:os.Thing"),
    "a call": (
        "A: !!python/object/apply:os.system ['touch pwned']",
        "python/object/apply:os.system.*nothing in it was run",
    ),
    "a date that is none": ("A: !!timestamp 2001", "not valid YAML"),
    "brackets": ("A: " + "[" * 5000, "not valid YAML"),
    "bytes": ("\udcff", "not valid YAML"),
    "a key that is a number": ("1: {A: 2}", "the key 1; expected names"),
    "an address": (
        "_BASE_: https://host/c.yaml",
        "_BASE_='https://host/c.yaml'; expected the path",
    ),
    "a base that is no name": ("_BASE_: 3", "_BASE_=3; expected the path"),
    "a long base": ("_BASE_: " + "b" * 1001, r"_BASE_='b{20,30}\.\.\.b{20,30}'; expected the path"),
    "an empty base": ("_BASE_:", "_BASE_=None; expected the path"),
    "no such base": (
        "_BASE_: none.yaml",
        r"none\.yaml: no such file.*It is the _BASE_ of .*c\.yaml",
    ),
    "a base in Python": ("_BASE_: base.py", r"base\.py: a lazy config"),
    "itself": ("_BASE_: c.yaml", r"_BASE_ leads back to it \(c\.yaml -> c\.yaml\)"),
    "levels": ("A: " + "{B: " * 40 + "1" + "}" * 40, "more than .* 10 levels"),
}


@pytest.mark.parametrize(("text", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_config_is_refused_and_runs_nothing(
    write: Write, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    path = write("c.yaml", "")
    path.write_bytes(text.encode(errors="surrogateescape"))
    monkeypatch.chdir(path.parent)
    with pytest.raises(InputError, match=sentence):
        read_config(path)
    assert [file.name for file in path.parent.iterdir()] == ["c.yaml"]


def test_a_cycle_names_its_files(write: Write) -> None:
    write("b.yaml", "_BASE_: c.yaml\n")
    write("c.yaml", "_BASE_: ./a.yaml\n")
    sentence = r"leads back to it \(a\.yaml -> b\.yaml -> c\.yaml -> a\.yaml\)"
    with pytest.raises(InputError, match=sentence):
        read_config(write("a.yaml", "_BASE_: b.yaml\n"))


@pytest.mark.parametrize("name", ["c.py", "c.json", "none.yaml"])
def test_other_files_are_refused_by_their_names(write: Write, name: str) -> None:
    expected = {"c.py": "a lazy config", "c.json": r"expected \.yaml", "none.yaml": "no such file"}
    path = write(name, "{}")
    if name == "none.yaml":
        path.unlink()
    with pytest.raises(InputError, match=expected[name]):
        read_config(path)


def test_few_bytes_cannot_ask_for_much(write: Write) -> None:
    """Aliases and bases double at each step; a second would go by long before they end."""
    aliases = "".join(f"k{n}: &k{n} {{a: *k{n - 1}, b: *k{n - 1}}}\n" for n in range(1, 40))
    with pytest.raises(InputError, match="more than 10000 settings"):
        read_config(write("aliases.yaml", "k0: &k0 {a: 1}\n" + aliases))
    with pytest.raises(InputError, match="10 levels"):
        read_config(write("loop.yaml", "a: &a {b: *a}\n"))
    for n in range(30):
        write(f"base{n}.yaml", f"_BASE_: [base{n + 1}.yaml, base{n + 1}.yaml]\n")
    write("base30.yaml", "SEED: 1\n")
    with pytest.raises(InputError, match="more than 32 files"):
        read_config(write("top.yaml", "_BASE_: base0.yaml\n"))
    big = write("big.yaml", "A: 1\n" + "#" * (1 << 18))
    with pytest.raises(InputError, match="expected a config of at most"):
        read_config(big)
