"""A run remembers the text embedder that it was trained with."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import duckdb
import numpy as np
import pandas as pd
import pytest

import rdl
from rdl.embedders import embedder
from rdl.errors import ConfigError

QUERY = "PREDICT COUNT(orders.*, 0, 10, days) = 0 FOR EACH users.id"
FAST = {"min_steps": 6, "max_steps": 6, "channels": 8, "fanouts": (4, 2), "baselines": False}


def lengths(texts: list[str]) -> np.ndarray:
    return np.array([[len(text), text.count("o"), 1] for text in texts], np.float32)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Orders with notes that are all different."""
    path, rng = tmp_path_factory.mktemp("notes") / "notes.duckdb", np.random.default_rng(0)
    words = ["late", "again", "gift", "for", "mother", "please", "ring", "bell", "garden", "blue", "door"]
    notes = [" ".join(rng.choice(words, 4)) + f" number {n} of the year" for n in range(600)]
    day = np.sort(rng.integers(0, 120, 600)).astype("timedelta64[D]")
    orders = pd.DataFrame(
        {"user_id": rng.integers(0, 20, 600), "ordered_at": np.datetime64("2024-01-01") + day, "note": notes}
    )
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY)")
        connection.execute("INSERT INTO users FROM range(20)")
        connection.register("made", orders)
        connection.execute(
            "CREATE TABLE orders (user_id INTEGER REFERENCES users(id), ordered_at TIMESTAMP, note VARCHAR)"
        )
        connection.execute("INSERT INTO orders FROM made")
    return f"duckdb:///{path}"


def test_a_function_is_asked_for_again(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDL_CACHE", str(tmp_path / "cache"))
    fitted = rdl.connect(url).task(QUERY).fit(out=tmp_path / "run", text_embedder=lengths, **FAST)
    assert fitted.run.statistics["orders"].texts == ("note",)
    assert fitted.run.config.text_embedder == "lengths"
    assert fitted.run.statistics["orders"].text_channels == 3
    with pytest.raises(ConfigError, match="reads texts by the embedder 'lengths'") as raised:
        rdl.load(tmp_path / "run")
    assert "text_embedder=" in str(raised.value)
    with pytest.raises(ConfigError, match="by the embedder 'lengths', not by 'hashing'"):
        rdl.load(tmp_path / "run", text_embedder="hashing")
    again = rdl.load(tmp_path / "run", text_embedder=lengths)
    assert np.array_equal(again.predict(split="test")["score"], fitted.predict(split="test")["score"])
    assert not list((tmp_path / "cache" / "embeddings").glob("*/*.npy"))


def test_a_function_with_a_name_is_kept_and_asked_for_by_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RDL_CACHE", str(tmp_path / "cache"))
    task = rdl.connect(url).task(QUERY)
    fitted = task.fit(out=tmp_path / "run", text_embedder=embedder(lengths, "lengths 1"), **FAST)
    assert fitted.run.config.text_embedder == "lengths 1"
    assert list((tmp_path / "cache" / "embeddings").glob("*/*.npy"))
    with pytest.raises(ConfigError, match="by the embedder 'lengths 1', not by 'lengths'"):
        rdl.load(tmp_path / "run", text_embedder=lengths)
    again = rdl.load(tmp_path / "run", text_embedder=embedder(lengths, "lengths 1"))
    assert np.array_equal(again.predict(split="test")["score"], fitted.predict(split="test")["score"])


def test_a_named_model_is_loaded_again(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("model2vec")
    model = type("Model", (), {"encode": staticmethod(lengths)})
    package.StaticModel = type("StaticModel", (), {"from_pretrained": staticmethod(lambda name: model())})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "model2vec", package)
    task = rdl.connect(url).task(QUERY)
    fitted = task.fit(out=tmp_path / "run", text_embedder="model2vec:small", **FAST)
    again = rdl.load(tmp_path / "run")
    assert np.array_equal(again.predict(split="test")["score"], fitted.predict(split="test")["score"])
    assert fitted.run.statistics["orders"].text_channels == 3
    assert task.fit(**FAST).run.statistics["orders"].text_channels == 64
