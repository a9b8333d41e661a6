"""What killed processes leave behind goes; what living ones make stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rdl.cache import discard, making, prune, sweep

MAKE = """
import sys, time
from pathlib import Path
from rdl.cache import making
with making(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("x" * 1000)
    print(folder, flush=True)
    time.sleep(60)
"""


def test_a_living_process_keeps_what_it_makes_and_a_dead_one_does_not(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", MAKE, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        sweep(tmp_path)
        assert (folder / "half").exists()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert (folder / "half").exists()
    with making(tmp_path) as fresh:
        assert list(tmp_path.iterdir()) == [fresh]


def test_a_folder_is_gone_afterwards_unless_it_was_renamed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), making(tmp_path) as folder:
        (folder / "half" / "way").write_text("")
    with making(tmp_path) as folder:
        (folder / "whole").write_text("")
        sweep(tmp_path)
        folder.rename(tmp_path / "kept")
    assert [path.name for path in tmp_path.rglob("*")] == ["kept", "whole"]


def test_discarding_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "file").write_text("")
    discard(tmp_path / "old")
    discard(tmp_path / "old")
    assert list(tmp_path.iterdir()) == []


def test_pruning_keeps_the_newest_and_what_was_opened_last(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / str(number)).mkdir()
        os.utime(tmp_path / str(number), (number, number))
    prune(tmp_path, tmp_path / "0")
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [0, 5, 6, 7, 8, 9, 10, 11]
