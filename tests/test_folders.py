"""A folder appears whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from rdl.errors import ConfigError
from rdl.folders import NewFolder, read_json, write_json


def test_it_appears_when_it_is_whole(tmp_path: Path) -> None:
    with NewFolder(tmp_path / "deep" / "run") as folder:
        (folder / "a").write_text("a")
        assert not (tmp_path / "deep" / "run").exists()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["run"]
    assert (tmp_path / "deep" / "run" / "a").read_text() == "a"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError()])
def test_nothing_stays_of_what_was_not_finished(tmp_path: Path, error: BaseException) -> None:
    expected = ConfigError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught, NewFolder(tmp_path / "run") as folder:  # noqa: PT012
        (folder / "a").write_text("a")
        raise error
    assert list(tmp_path.iterdir()) == []
    if isinstance(error, OSError):
        assert "No space left" in str(caught.value)


def test_what_is_there_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        NewFolder(tmp_path / "run")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be made"):
        NewFolder(tmp_path / "file" / "run")


def test_json_has_no_nan_and_says_what_is_damaged(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": float("nan"), "y": (1, {"z"})})
    assert read_json(tmp_path / "a.json") == {"x": None, "y": [1, ["z"]]}
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ConfigError, match="damaged"):
        read_json(tmp_path / "a.json")
