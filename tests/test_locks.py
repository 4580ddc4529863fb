"""A lock of one machine: one process at a time, told who holds it, gone with its holder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tidemill.locks import Taken, held

HOLD = """
import sys, time
from pathlib import Path
from tidemill.locks import held
with held(Path(sys.argv[1])) as lock:
    lock.write("4711")
    lock.flush()
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_is_refused_until_the_holder_is_gone_however_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        with pytest.raises(Taken) as taken, held(path):
            raise AssertionError("two at once")
        assert taken.value.who == "4711"
    finally:
        holder.kill()
        holder.wait()
    with held(path):
        pass


def test_what_fails_inside_lets_go_of_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="inside"), held(tmp_path / "lock"):
        raise OSError("inside")
    with held(tmp_path / "lock"):
        pass


def test_a_file_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), held(tmp_path / "none" / "lock"):
        pass
