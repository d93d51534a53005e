"""The killer itself: what is half-written, or outlives its parent, is seen."""

import shutil
import signal
import subprocess
import sys

from maskrt.tools.kills import SHIPPED, left_alive, not_whole


def test_half_a_file_is_named_and_a_whole_one_is_not(tmp_path):
    for suffix in (".safetensors", ".yaml"):
        shutil.copy(SHIPPED.with_suffix(suffix), tmp_path / f"whole{suffix}")
        shutil.copy(SHIPPED.with_suffix(suffix), tmp_path / f"half{suffix}")
    half = tmp_path / "half.safetensors"
    half.write_bytes(half.read_bytes()[:-9])
    (tmp_path / "half.json").write_text('{"a": ')
    (tmp_path / "half.html").write_text("<html>")
    (tmp_path / ".hidden.json").write_text('{"a": ')
    found = [line.partition(":")[0] for line in not_whole(tmp_path)]
    assert found == ["half.html", "half.json", "half.safetensors"]


def test_a_child_that_outlives_its_parent_is_named():
    child = "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
    try:
        while not (found := left_alive(process.pid, 0.1)) or len(found) < 2:
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert [name.partition("(")[2] for name in left_alive(process.pid, 0.1)] == ["sleep"]
    finally:
        subprocess.run(["pkill", "-g", str(process.pid)], check=False)
    assert not left_alive(process.pid, 5)
