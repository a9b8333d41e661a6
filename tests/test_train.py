"""Training: it learns, repeats itself exactly, and goes on after an interruption as if there had been none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from rdl import features
from rdl.clock import US_PER_DAY
from rdl.config import Regime, Sampling, TrainConfig
from rdl.errors import ConfigError
from rdl.graph import TemporalGraph
from rdl.losses import Objective
from rdl.model import RelationalModel, build
from rdl.predict import predict, seeds_of
from rdl.progress import Progress
from rdl.query.task import Kind, TaskTable
from rdl.sampler import Sampler, Seeds
from rdl.snapshot import Snapshot
from rdl.summaries import SummaryStatistics
from rdl.train import Inputs, fit
from tests.memory import MemoryReader

CONFIG = TrainConfig(
    channels=16, fanouts=(32,), batch_size=64, min_steps=80, max_steps=80, max_epochs=1, patience=50, learning_rate=5e-3
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Snapshot, Inputs]:
    """Whether a user's orders so far are worth more than 0 on the whole: read from the children alone."""
    rng = np.random.default_rng(0)
    days = pa.array(np.sort(rng.integers(0, 100, 3000)) * US_PER_DAY)
    user, amount = rng.integers(0, 200, 3000), rng.normal(size=3000)
    orders = pa.table({"user_id": user, "amount": amount, "at": days.cast(pa.timestamp("us"))})
    reader = MemoryReader(
        {"users": pa.table({"id": np.arange(200)}), "orders": orders},
        keys={"users": "id"},
        times={"orders": "at"},
        relations=[("orders", "user_id", "users")],
    )
    snapshot = reader.snapshot(tmp_path_factory.mktemp("train") / "s")
    entity, time, split, target = [], [], [], []
    for number, day in enumerate((50, 70, 85, 95)):
        known = days.to_numpy() <= day * US_PER_DAY
        total = np.bincount(user[known], amount[known], minlength=200)
        entity.append(np.arange(200))
        time.append(np.full(200, day * US_PER_DAY))
        split.append(np.full(200, max(0, number - 1), np.int8))
        target.append((total > 0).astype(float))
    table = TaskTable(*map(np.concatenate, (entity, time, split, target)), 85 * US_PER_DAY, 95 * US_PER_DAY)
    packed = features.pack(snapshot, features.fit(snapshot, table.val_cut))
    sampler = Sampler(TemporalGraph.build(snapshot), CONFIG.fanouts)
    return snapshot, Inputs(table, "users", False, (), packed, sampler, Objective(Kind.binary))


def fresh(snapshot: Snapshot, dropout: float = 0.1) -> RelationalModel:
    torch.manual_seed(0)
    statistics = features.fit(snapshot, 85 * US_PER_DAY)
    return build(statistics, snapshot.schema.relations, channels=16, layers=1, dropout=dropout)


def test_it_learns_and_repeats_itself(inputs: tuple[Snapshot, Inputs]) -> None:
    snapshot, given = inputs
    runs = []
    for _ in range(2):
        model = fresh(snapshot)
        progress = fit(model, given, CONFIG)
        test = given.table.of("test")
        seeds = seeds_of(test, "users", Regime.seed_time, strictly=False)
        runs.append(predict(model, given.features, given.sampler, seeds, given.objective))
        kept = next(line for line in progress.history if line.step == progress.best_step)
        assert kept.val_loss == progress.best == min(line.val_loss for line in progress.history)
        assert kept.val_metric > 0.9
        assert ((runs[-1] > 0.5) == test.target).mean() > 0.8
    assert np.array_equal(runs[0], runs[1])


def test_what_the_past_adds_up_to_is_read_beside_the_graph(inputs: tuple[Snapshot, Inputs]) -> None:
    """Of each user's orders the newest alone is sampled, which tells nearly nothing of their sum."""
    snapshot, given = inputs
    config = replace(CONFIG, fanouts=(1,), channels=16, learning_rate=2e-2, dropout=0.0)
    given = replace(given, sampler=Sampler(given.sampler.graph, (1,)))
    orders = snapshot.arrow("orders")
    user, amount, at = (orders[name].to_numpy() for name in ("user_id", "amount", "at"))

    def summarise(seeds: Seeds) -> torch.Tensor:
        known = at.astype("datetime64[us]").astype(np.int64)[:, None] <= np.unique(seeds.cut.numpy())
        totals = np.stack([np.bincount(user[k], amount[k], minlength=200) for k in known.T], axis=1)
        place = np.searchsorted(np.unique(seeds.cut.numpy()), seeds.cut.numpy())
        return torch.from_numpy(totals[seeds.row.numpy(), place][:, None]).float()

    torch.manual_seed(0)
    statistics = features.fit(snapshot, 85 * US_PER_DAY)
    found = []
    for width in (0, 1):
        sums = (
            SummaryStatistics(0, ("sum",), (0.0,), (1.0,), (), (tuple(np.linspace(0, 5, 9).tolist()),))
            if width
            else None
        )
        model = build(
            statistics, snapshot.schema.relations, channels=16, layers=1, dropout=0.0, members=4, summary=sums
        )
        progress = fit(model, replace(given, summarise=summarise if width else None), config)
        found.append(max(line.val_metric for line in progress.history))
    assert found[0] < 0.85
    assert found[1] > 0.95


@pytest.mark.parametrize("strategy", Sampling)
def test_an_interrupted_run_goes_on_to_the_same_weights(
    inputs: tuple[Snapshot, Inputs], tmp_path: Path, strategy: Sampling
) -> None:
    snapshot, given = inputs
    given = replace(given, sampler=Sampler(given.sampler.graph, (4,), strategy=strategy))
    whole = fresh(snapshot)
    fit(whole, given, CONFIG)

    def interrupt(progress: Progress) -> None:
        if progress.step == 47:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(fresh(snapshot), given, CONFIG, partial=tmp_path / "p", listen=interrupt)
    resumed = fresh(snapshot)
    steps: list[int] = []
    progress = fit(resumed, given, CONFIG, partial=tmp_path / "p", resume=True, listen=lambda p: steps.append(p.step))
    assert steps[0] == 41
    assert [line.step for line in progress.history] == [20, 40, 60, 80]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_state_of_another_run_is_refused(inputs: tuple[Snapshot, Inputs], tmp_path: Path) -> None:
    snapshot, given = inputs
    fit(fresh(snapshot), given, CONFIG, partial=tmp_path / "p", identity="one")
    with pytest.raises(ConfigError, match="another question"):
        fit(fresh(snapshot), given, CONFIG, partial=tmp_path / "p", identity="other", resume=True)


def test_a_time_budget_is_kept(inputs: tuple[Snapshot, Inputs]) -> None:
    snapshot, given = inputs
    config = TrainConfig(channels=16, fanouts=(8,), batch_size=64, min_steps=1000, max_steps=1000, time_budget_min=1e-6)
    progress = fit(fresh(snapshot), given, config)
    assert progress.stopped == "the time budget is spent"
    assert progress.step == 1


def test_stale_seeds_see_at_most_their_own_time(inputs: tuple[Snapshot, Inputs]) -> None:
    from rdl.train import _Batches

    _, given = inputs
    frozen = TrainConfig(channels=16, fanouts=(8,), batch_size=64, regime=Regime.frozen)
    lagging = TaskTable(
        given.table.entity,
        given.table.time + np.where(given.table.split == 1, 10 * US_PER_DAY, 0),
        given.table.split, given.table.target, given.table.val_cut, given.table.test_cut,
    )  # fmt: skip
    batches = _Batches(lagging.of("train"), Inputs(lagging, *_rest(given)), frozen, torch.device("cpu"))
    seeds, *_ = batches[0]
    lag = (seeds.time - seeds.cut) / US_PER_DAY
    assert ((lag >= 0) & (lag <= 10)).all()
    assert 0.7 < (lag > 0).double().mean() < 1
    again, *_ = batches[0]
    assert torch.equal(seeds.cut, again.cut)


def _rest(given: Inputs) -> tuple[object, ...]:
    return given.entity, given.strictly, given.hidden, given.features, given.sampler, given.objective


def test_regression_is_scaled_and_clamped_by_training_labels_alone() -> None:
    none = np.zeros(1001, np.int64)
    train = TaskTable(none, none, none.astype(np.int8), np.arange(1001.0), 1, 2)
    objective = Objective.fit(Kind.regression, train)
    assert objective.scale == np.arange(1001.0).std()
    predicted = objective.prediction(torch.tensor([[-100.0, -90.0], [-1.0, 1.0], [100.0, 90.0]]).unsqueeze(2))
    assert predicted.tolist() == [5.0, 500.0, 995.0]
    target = objective.encode(train.take(np.array([500])))
    assert objective.loss(torch.zeros(1, 2, 1), target) == 0
    # Each member is judged, not their mean.
    assert objective.loss(torch.tensor([[[-1.0], [1.0]]]), target) > 0


@pytest.mark.parametrize(
    "setting", [{"fanouts": ()}, {"fanouts": (0,)}, {"channels": 0}, {"time_budget_min": 0}, {"sampling": "any"}]
)
def test_settings_without_a_meaning_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        TrainConfig(**setting)  # type: ignore[arg-type]


def test_a_damaged_state_is_refused(inputs: tuple[Snapshot, Inputs], tmp_path: Path) -> None:
    snapshot, given = inputs
    fit(fresh(snapshot), given, CONFIG, partial=tmp_path / "p")
    state = tmp_path / "p" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="cannot be read"):
        fit(fresh(snapshot), given, CONFIG, partial=tmp_path / "p", resume=True)


def predicted(model: RelationalModel, given: Inputs) -> np.ndarray:
    seeds = seeds_of(given.table.of("test"), "users", Regime.seed_time, strictly=False)
    return predict(model, given.features, given.sampler, seeds, given.objective)


def test_training_that_came_to_its_end_is_not_gone_on_with(inputs: tuple[Snapshot, Inputs], tmp_path: Path) -> None:
    """Killed after training stopped early, before anything was saved: the same weights, and no step more."""
    snapshot, given = inputs
    config = replace(CONFIG, patience=1, learning_rate=5e-2, min_steps=400, max_steps=400)
    whole = fresh(snapshot)
    progress = fit(whole, given, config, partial=tmp_path / "p")
    assert progress.step < 400
    resumed = fresh(snapshot)
    again = fit(resumed, given, config, partial=tmp_path / "p", resume=True)
    assert (again.step, again.history) == (progress.step, progress.history)
    assert np.array_equal(predicted(whole, given), predicted(resumed, given))


def test_a_run_that_is_given_more_time_goes_on(inputs: tuple[Snapshot, Inputs], tmp_path: Path) -> None:
    snapshot, given = inputs
    whole, stopped = fresh(snapshot), fresh(snapshot)
    fit(whole, given, CONFIG)
    short = fit(stopped, given, replace(CONFIG, time_budget_min=1e-6), partial=tmp_path / "p")
    assert (short.step, short.stopped) == (1, "the time budget is spent")
    same = fit(stopped, given, replace(CONFIG, time_budget_min=1e-6), partial=tmp_path / "p", resume=True)
    assert same.step == 1
    fit(stopped, given, CONFIG, partial=tmp_path / "p", resume=True)
    assert predicted(stopped, given) == pytest.approx(predicted(whole, given), abs=1e-6)


def test_half_precision_learns_the_same(inputs: tuple[Snapshot, Inputs]) -> None:
    snapshot, given = inputs
    model = fresh(snapshot)
    progress = fit(model, given, replace(CONFIG, precision="bf16-mixed", device="cpu"))
    assert all(value.dtype == torch.float32 for value in model.parameters())
    assert progress.history[-1].val_metric > 0.9
    whole = fit(fresh(snapshot), given, replace(CONFIG, device="cpu"))
    first, theirs = progress.history[0].train_loss, whole.history[0].train_loss
    assert first == pytest.approx(theirs, abs=0.1)
    assert first != theirs, "it is indeed another precision"


@pytest.mark.parametrize(
    "setting", [{"ensemble": 0}, {"devices": 0}, {"precision": "fp16"}, {"precision": 16}, {"ensemble": 1.5}]
)
def test_other_settings_without_a_meaning_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        TrainConfig(**setting)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "setting",
    [{"dropout": 1.0}, {"dropout": -1}, {"learning_rate": "abc"}, {"averaging": 2.0}, {"weight_decay": -5.0},
     {"identities": "yes"}, {"time_budget_min": float("nan")}, {"time_budget_min": "abc"}],
)  # fmt: skip
def test_shares_and_rates_have_limits(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        TrainConfig.of(setting)


@pytest.mark.parametrize("after", [1, 3])
def test_weights_that_diverge_are_not_kept(
    inputs: tuple[Snapshot, Inputs], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    looks = iter([1.0] * (after - 1) + [np.inf] * 9)
    monkeypatch.setattr("rdl.train.predict", lambda *given, **settings: predict(*given, **settings) * next(looks))
    snapshot, given = inputs
    model, config = fresh(snapshot), replace(CONFIG, min_steps=100, max_steps=100)
    if after == 1:
        with pytest.raises(ConfigError, match="diverged"):
            fit(model, given, config)
        return
    progress = fit(model, given, config)
    assert progress.stopped == "predictions were no longer finite"
    assert (progress.step, progress.best_step in (20, 40)) == (60, True)
