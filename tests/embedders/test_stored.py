"""A text is embedded once: its vector is kept by the text's content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rdl.embedders import Encoded, Stored, embed, embedder
from rdl.errors import ConfigError

PROBES = {"", "rdl", "The quick brown fox jumps over the lazy dog.", "a text", "another one"}


class Asked:
    """A function of texts that remembers what it was asked, and makes vectors around ``middle``."""

    def __init__(self, middle: float = 0.0) -> None:
        self.middle, self.texts = middle, list[str]()

    def __call__(self, texts: list[str]) -> np.ndarray:
        self.texts += [text for text in texts if text not in PROBES]
        return np.array([[len(text), sum(map(ord, text)) % 97 + self.middle] for text in texts])


def stored(asked: Asked, folder: Path, name: str = "mine") -> Stored:
    return Stored(Encoded(asked, name), folder=folder)


def test_only_new_texts_are_asked(tmp_path: Path) -> None:
    asked = Asked()
    first = embed(stored(asked, tmp_path), pa.array(["one", "two", "\x00", "drei"]))
    assert asked.texts == ["one", "two", "\x00", "drei"]
    again = embed(stored(asked, tmp_path), pa.array(["two", "four", "one", "", "\x00"]))
    assert asked.texts == ["one", "two", "\x00", "drei", "four"]
    assert np.array_equal(again[[0, 2, 4]], first[[1, 0, 2]])
    assert np.array_equal(again[[1, 3]], asked(["four", ""]).astype(np.float32))
    assert embed(stored(asked, tmp_path), pa.array([], pa.string())).shape == (0, 2)


def test_many_texts_come_back_as_they_were_made(tmp_path: Path) -> None:
    asked = Asked()
    texts = [f"text {n}" for n in range(3000)]
    for begin in (0, 1000, 2500):
        embed(stored(asked, tmp_path), pa.array(texts[begin : begin + 500]))
    found = embed(stored(asked, tmp_path), pa.array(texts[::-1]))
    assert np.array_equal(found, Asked()(texts[::-1]).astype(np.float32))
    assert sorted(asked.texts) == sorted(texts)


def test_another_model_of_the_same_name_is_another(tmp_path: Path) -> None:
    embed(stored(Asked(), tmp_path), pa.array(["one"]))
    other = Asked(0.5)
    assert embed(stored(other, tmp_path), pa.array(["one"]))[0, 1] % 1 == 0.5
    assert other.texts == ["one"]
    same = Asked()
    embed(stored(same, tmp_path, "yours"), pa.array(["one"]))
    assert same.texts == ["one"]


def test_another_version_is_another(tmp_path: Path) -> None:
    asked = Asked()
    for version, times in (("1", 1), ("2", 2), ("1", 2)):
        embed(Stored(Encoded(asked, "mine"), version, tmp_path), pa.array(["one"]))
        assert asked.texts == ["one"] * times


def test_a_function_without_a_name_is_asked_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two functions that make the same of every probe, and share a name that nobody gave them."""
    monkeypatch.setenv("RDL_CACHE", str(tmp_path))
    texts = pa.array(["late and cheap", "refund please"])
    one = embedder(lambda texts: [[float("refund" in text), float("broken" in text)] for text in texts])
    assert embed(one, texts).tolist() == [[0, 0], [1, 0]]
    other = embedder(lambda texts: [[float("late" in text), float("cheap" in text)] for text in texts])
    assert embed(other, texts).tolist() == [[1, 1], [0, 0]]
    assert one.name == other.name
    assert not list(tmp_path.rglob("*.npy"))


def test_a_function_is_kept_under_the_name_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDL_CACHE", str(tmp_path))
    asked = Asked()
    for name, times in (("mine 1", 1), ("mine 1", 1), ("mine 2", 2)):
        made = embedder(asked, name)
        assert made.name == name
        embed(made, pa.array(["one"]))
        assert asked.texts == ["one"] * times
    assert embedder(made) is made
    with pytest.raises(ConfigError, match="has a name: it cannot be called 'other'"):
        embedder("hashing", "other")
    with pytest.raises(ConfigError, match="3 is no text embedder"):
        embedder(3, "three")


def test_a_damaged_file_costs_time_only(tmp_path: Path) -> None:
    asked = Asked()
    first = embed(stored(asked, tmp_path), pa.array(["one", "two"]))
    for number, file in enumerate(tmp_path.glob("*/*.npy")):
        file.write_bytes(file.read_bytes()[: 40 * number])
    assert np.array_equal(embed(stored(asked, tmp_path), pa.array(["one", "two"])), first)
    assert asked.texts == ["one", "two"] * 2
    assert np.array_equal(embed(stored(asked, tmp_path), pa.array(["one", "two"])), first)
    assert asked.texts == ["one", "two"] * 2, "kept again"


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    asked = Asked()
    assert embed(stored(asked, tmp_path / "file"), pa.array(["one"])).shape == (1, 2)


def test_nothing_is_kept_of_wrong_vectors(tmp_path: Path) -> None:
    by = Encoded(lambda texts: np.full((len(texts), 2), np.nan if "bad" in texts else 1.0), "mine")
    with pytest.raises(ConfigError, match="not finite"):
        embed(Stored(by, folder=tmp_path), pa.array(["bad"]))
    assert not list(tmp_path.glob("*/*.npy"))
