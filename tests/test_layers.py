"""Every kind of layer is trained, saved and opened by its name; the same seed gives the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rdl
from rdl.config import Layers
from rdl.errors import ConfigError
from rdl.pipeline import BoundTask
from rdl.shop import build_shop

CHURN = "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.id WHERE COUNT(orders.*, -90, 0, days) > 0"
FAST = {"channels": 8, "fanouts": (4, 2), "max_steps": 6, "members": 2, "summaries": 0, "identities": True}


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> BoundTask:
    path = tmp_path_factory.mktemp("layers") / "shop.duckdb"
    build_shop(path, scale=0.02)
    return rdl.connect(f"duckdb:///{path}").task(CHURN)


@pytest.mark.parametrize("model", Layers)
def test_a_run_of_any_layers_is_repeated_and_opened(churn: BoundTask, tmp_path: Path, model: str) -> None:
    one, other = (churn.fit(model=model, baselines=False, out=tmp_path / name, **FAST) for name in "ab")
    predicted = one.run.predict_split("test")
    assert len(predicted)
    assert predicted.std() > 0
    assert np.array_equal(predicted, other.run.predict_split("test"))
    opened = rdl.load(tmp_path / "a").run
    assert opened.config.model == model
    assert opened.statistics == one.run.statistics
    assert any(fitted.identities for fitted in opened.statistics.values())
    assert np.allclose(opened.predict_split("test"), predicted, atol=1e-6)


def test_unknown_layers_are_refused(churn: BoundTask) -> None:
    with pytest.raises(ConfigError, match="no model 'gpt'"):
        churn.fit(model="gpt")
