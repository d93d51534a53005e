"""The fuzzer itself: changes repeat, and every way to end badly is seen for what it is."""

import json
import os
import signal
from random import Random

import pytest

from maskrt.runtime.errors import InputError
from maskrt.tools.fuzz import run as fuzz
from maskrt.tools.fuzz.mutations import mutated_bytes, mutated_json
from maskrt.tools.fuzz.reader import Reader
from maskrt.tools.fuzz.readers import READERS, coco_json


def written(folder):
    path = folder / "a.json"
    path.write_bytes(b'{"a": [1, 2, {"b": "c"}]}')
    return path


def refuse(folder):
    raise InputError(f"{folder}: no.")


ENDINGS = {
    "accepted": lambda folder: None,
    "clean error": refuse,
    "traceback": lambda folder: {}["missing"],
    "signal": lambda folder: os.kill(os.getpid(), signal.SIGKILL),
    "hang": lambda folder: signal.pause(),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_how_a_case_ended_is_told(how, monkeypatch, capsys):
    monkeypatch.setattr(fuzz, "LIMIT_S", 1)
    reader = Reader(written, ENDINGS[how], mutated_bytes)
    ended = fuzz.run_case(reader, 7)
    assert (ended.seed, ended.how) == (7, how)
    assert ("KeyError" in ended.text) == (how == "traceback")
    assert ended.peak_mb > 1


def test_memory_without_end_is_a_traceback(monkeypatch):
    monkeypatch.setattr(fuzz, "LIMIT_BYTES", 1 << 28)
    ended = fuzz.run_case(Reader(written, lambda folder: bytearray(1 << 30), mutated_bytes), 0)
    assert (ended.how, "MemoryError" in ended.text) == ("traceback", True)


def test_the_command_prints_a_table_and_fails_with_a_bad_case(monkeypatch, capsys):
    readers = {"good": Reader(written, lambda folder: None, mutated_json)}
    monkeypatch.setattr(fuzz, "READERS", readers)
    assert fuzz.main(["good", "--cases", "3"]) == 0
    assert "| good | 3 | 0 | 3 | 0 | 0 | 0 |" in capsys.readouterr().out
    calls = iter([None])  # the whole input reads well
    readers["bad"] = Reader(written, lambda folder: next(calls), mutated_json)
    assert fuzz.main(["bad", "--cases", "2", "--seed", "5"]) == 1
    assert "bad seed 6: traceback" in capsys.readouterr().out


def test_changes_repeat_by_seed_and_differ_between_seeds():
    data = json.dumps(coco_json()).encode()
    for mutate in (mutated_json, mutated_bytes):
        changed = [mutate(data, Random(seed)) for seed in range(30)]
        assert changed == [mutate(data, Random(seed)) for seed in range(30)]
        assert len({data, *changed}) > 25


@pytest.mark.parametrize("name", READERS)
def test_the_unchanged_input_is_read(name, tmp_path):
    READERS[name].write(tmp_path)
    assert fuzz.run_here(READERS[name], tmp_path) == ("accepted", "")
