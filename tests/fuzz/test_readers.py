"""Every reader under a hundred changed inputs: a result or one of our sentences, and in time.

`python -m maskrt.tools.fuzz READER --cases 3000` looks further, in processes with limits.
"""

import signal
from collections import Counter

import pytest

from maskrt.tools.fuzz.readers import READERS
from maskrt.tools.fuzz.run import LIMIT_S, change, run_here

CASES = 100


@pytest.fixture
def in_time():
    """An error in place of a test that never ends."""
    before = signal.signal(signal.SIGALRM, _too_long)
    yield lambda: signal.alarm(LIMIT_S)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def _too_long(*_):
    pytest.fail(f"longer than {LIMIT_S} s")  # no Exception, so that no reader catches it


@pytest.mark.parametrize("name", READERS)
def test_every_changed_input_is_read_or_refused(name, tmp_path, in_time):
    ends = Counter()
    for seed in range(CASES):
        in_time()
        folder = tmp_path / str(seed)
        folder.mkdir()
        change(READERS[name], folder, seed)
        how, text = run_here(READERS[name], folder)
        assert how != "traceback", f"seed {seed}: {text}"
        assert "\n" not in text, f"seed {seed}: {text}"
        ends[how] += 1
    assert min(ends["clean error"], ends["accepted"]) >= 5, ends  # changes of both kinds
