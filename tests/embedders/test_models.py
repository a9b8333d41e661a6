"""Other people's models and functions as embedders."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest

from rdl.embedders import HASHING, Embedder, Encoded, HashingEmbedder, embed, embedder
from rdl.embedders.models import version_of
from rdl.errors import ConfigError


class Model:
    """A model in the way of sentence-transformers and model2vec."""

    def __init__(self, name: str, channels: int = 3) -> None:
        self.base_model_name, self.channels = name, channels
        self.batches: list[int] = []

    def encode(self, texts: list[str]) -> np.ndarray:
        self.batches.append(len(texts))
        return np.array([[len(text)] * self.channels for text in texts], np.float64)


def letters(texts: list[str]) -> list[list[int]]:
    return [[text.count("a"), len(text)] for text in texts]


@pytest.mark.parametrize(
    ("chosen", "name", "channels"),
    [
        ("hashing", "hashing", 64),
        (letters, "letters", 2),
        (Model("potion"), "potion", 3),
        (HashingEmbedder(8), "hashing", 8),
    ],
)
def test_what_can_be_an_embedder(chosen: object, name: str, channels: int) -> None:
    made = embedder(chosen)
    assert isinstance(made, Embedder)
    assert (made.name, made.channels) == (name, channels)
    vectors = embed(made, pa.array(["a", "banana"]))
    assert (vectors.shape, vectors.dtype) == ((2, channels), np.float32)
    assert embed(made, pa.array([], pa.string())).shape == (0, channels)


def test_a_model_is_asked_in_batches() -> None:
    model = Model("m")
    vectors = Encoded(model, "m").embed(pa.array([str(n) for n in range(10_000)]))
    assert vectors[:, 0].tolist() == [len(str(n)) for n in range(10_000)]
    assert max(model.batches) < 5000


@pytest.mark.parametrize(
    ("name", "module", "kind"),
    [
        ("model2vec:small", "model2vec", "StaticModel"),
        ("sentence-transformers:small", "sentence_transformers", "SentenceTransformer"),
    ],
)
def test_models_are_loaded_by_name(monkeypatch: pytest.MonkeyPatch, name: str, module: str, kind: str) -> None:
    package = ModuleType(module)
    loader = type(kind, (Model,), {"from_pretrained": classmethod(lambda cls, model: cls(model))})
    setattr(package, kind, loader)
    monkeypatch.setitem(sys.modules, module, package)
    made = embedder(name)
    assert (made.name, made.channels) == (name, 3)
    monkeypatch.setattr(loader, "__init__", lambda *_: (_ for _ in ()).throw(OSError("no such model")))
    with pytest.raises(ConfigError, match=f"{name}' cannot be loaded: no such model"):
        embedder(name)


def test_the_version_of_a_model_changes_with_its_package_and_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert version_of("model2vec:minishlab/none") == version_of("model2vec:minishlab/none")
    monkeypatch.setattr(importlib.metadata, "version", lambda package: f"{package} 1.0")
    seen = [version_of("model2vec:minishlab/none"), version_of(f"model2vec:{tmp_path}")]
    for weights in ("a", "ab"):
        (tmp_path / "model.safetensors").write_text(weights)
        seen.append(version_of(f"model2vec:{tmp_path}"))
    assert seen[:2] == ["model2vec 1.0"] * 2
    assert len(set(seen)) == 3


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("word2vec", "unknown text embedder 'word2vec'"),
        ("model2vec:", "unknown text embedder"),
        ("model2vec:x", "needs model2vec"),
        (3, "3 is no text embedder"),
        (None, "None is no text embedder"),
        (lambda texts: [1] * len(texts), r"made \[2\] of two texts"),
        (lambda texts: 1 / 0, "failed: ZeroDivisionError"),
        (lambda texts: [["a"], ["b"]], "failed: ValueError"),
    ],
)
def test_what_cannot_be_an_embedder_is_refused(monkeypatch: pytest.MonkeyPatch, chosen: object, message: str) -> None:
    monkeypatch.setitem(sys.modules, "model2vec", None)
    with pytest.raises(ConfigError, match=message):
        embedder(chosen)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda n: np.full((n, 2), np.nan), "made numbers that are not finite of 3 texts"),
        (lambda n: np.zeros((n - 1, 2)), r"made \[2, 2\] of 3 texts"),
        (lambda n: np.zeros((n, 5)), r"made \[3, 5\] of 3 texts"),
        (lambda n: "nonsense", "failed: ValueError"),
    ],
)
def test_wrong_vectors_are_told(returned: object, message: str) -> None:
    made = Encoded(lambda texts: np.zeros((2, 2)) if len(texts) == 2 else returned(len(texts)), "mine")
    with pytest.raises(ConfigError, match=f"'mine' {message}"):
        embed(made, pa.array(["a", "b", "c"]))


def test_the_default_needs_no_name_of_its_own() -> None:
    assert embedder("hashing") is HASHING
