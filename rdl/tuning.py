"""The few choices of the recipe that depend on the data, tried one after another (Optuna's TPE) and judged by the loss
on validation alone.

The first trial is the recipe as it is, so what is found is never worse than that on validation. Hopeless trials are cut
short. All is kept in a folder: tuning goes on there after a kill, in the middle of a trial too.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rdl.config import TrainConfig, require_whole
from rdl.errors import ConfigError
from rdl.progress import Progress
from rdl.query.task import Split
from rdl.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    import optuna

#: Trials drawn at random before what was found says where to look; whole ones before one is cut short.
AT_RANDOM, WHOLE = 6, 4
#: A trial is cut short not before this share of its steps.
WARM_SHARE = 0.3
Settings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trial:
    """One configuration: what was ``tried`` of the choices, the least validation ``loss`` it came to and the ``metric``
    there, after ``steps`` and ``seconds``; ``pruned`` where it was cut short as hopeless."""

    number: int
    tried: Settings
    loss: float
    metric: float
    steps: int
    seconds: float
    pruned: bool


@dataclass(frozen=True, slots=True)
class Tuned:
    """All trials in their order, which the ``best`` is, how much each choice mattered (shares that sum to 1; empty
    where too few trials tell), and the best one's run, trained."""

    trials: list[Trial]
    best: Trial
    importance: Mapping[str, float]
    run: Run


@dataclass(frozen=True, slots=True)
class Tuning:
    """A search in ``folder``, until so many ``trials`` or ``budget_min`` minutes of trials are done (None: no limit).
    ``fixed`` are settings that are not searched over."""

    folder: Path
    trials: int | None = None
    budget_min: float | None = None
    fixed: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.trials is None and self.budget_min is None:
            raise ConfigError("tuning has no end", hint="give a number of trials, or a time budget in minutes.")
        if self.trials is not None:
            require_whole("the number of trials", self.trials, least=1)
        if self.budget_min is not None and not self.budget_min > 0:
            raise ConfigError(f"a time budget of {self.budget_min} minutes: it must be above 0")

    def run(self, start: Run, *, resume: bool = False, listen: Callable[[Progress], None] = lambda _: None) -> Tuned:
        """Tries configurations around that of ``start``, whose data it shares. Raises ConfigError where there are no
        validation seeds, or no trial comes to a finite loss, or where the folder holds the search of another task."""
        if start.config.ensemble > 1:
            raise ConfigError("an ensemble is not tuned", hint="tune one model, and train an ensemble as the best is.")
        if not len(start.table.of(Split.val)):
            raise ConfigError("there are no validation seeds to judge by", hint="give the task an earlier SPLIT AT.")
        choices = {name: of for name, of in space(start.config).items() if name not in self.fixed}
        if not choices:
            raise ConfigError("every choice is fixed", hint=f"leave one open: {', '.join(space(start.config))}.")
        with _quiet():
            study = self.study(start, choices, resume=resume)
            while not self.done(study):
                self.trial(study, start, choices, listen)
            return self.result(study, start)

    def study(self, start: Run, choices: Mapping[str, Any], *, resume: bool) -> optuna.Study:
        """The search so far. A trial that was under way is begun again, and goes on where its state was saved."""
        import optuna

        if not resume:
            shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{self.folder} cannot be made: {error.strerror}") from None
        study = optuna.create_study(
            storage=optuna.storages.RDBStorage(f"sqlite:///{(self.folder / 'trials.sqlite3').absolute()}"),
            study_name="tuning", load_if_exists=True, direction="minimize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=WHOLE),
        )  # fmt: skip
        asked = json.dumps([start.identity(), sorted(choices)])
        if study.user_attrs.get("identity", asked) != asked:
            raise ConfigError(
                f"{self.folder} holds the search of another question, database or setting",
                hint="give the command it was started with, or leave --resume out to begin anew.",
            )
        study.set_user_attr("identity", asked)
        for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            if "seconds" not in trial.user_attrs:  # else only its end was not told any more
                study.enqueue_trial(trial.params)
        if not study.trials:
            study.enqueue_trial({name: of for name, of in _written(start.config).items() if name in choices})
        return study

    def done(self, study: optuna.Study) -> bool:
        """Whether as many trials, or as long ones, as wanted have come to an end."""
        ended = [trial for trial in study.trials if "seconds" in trial.user_attrs]
        if self.trials is not None and len(ended) >= self.trials:
            return True
        return bool(ended) and self.budget_min is not None and self.left_min(study) <= 0

    def left_min(self, study: optuna.Study) -> float:
        """The minutes left of the budget."""
        spent = sum(trial.user_attrs.get("seconds", 0.0) for trial in study.trials)
        return math.inf if self.budget_min is None else self.budget_min - spent / 60

    def trial(
        self, study: optuna.Study, start: Run, choices: Mapping[str, Any], listen: Callable[[Progress], None]
    ) -> None:
        """Trains one configuration, and keeps its state where it is the best so far."""
        import optuna

        started = time.perf_counter()
        ended = [trial for trial in study.trials if "seconds" in trial.user_attrs]
        # What is drawn depends on the seed and on what was found, not on interruptions.
        study.sampler = optuna.samplers.TPESampler(n_startup_trials=AT_RANDOM, seed=start.config.seed + len(ended))
        trial = study.ask(dict(choices))
        before, reported = _best(study), 0
        left = self.left_min(study)
        config = replace(
            _config(start.config, trial.params), time_budget_min=None if math.isinf(left) else max(left, 1e-6)
        )

        def told(progress: Progress) -> None:
            nonlocal reported
            progress.label = f"trial {len(ended)}" + (f", best so far {before.value:.4f}" if before is not None else "")
            listen(progress)
            if not progress.ripe or len(progress.history) == reported:
                return
            reported = len(progress.history)
            if math.isfinite(progress.best):
                trial.report(progress.best, progress.step)
            warm = progress.step >= WARM_SHARE * progress.total_steps
            if warm and progress.step < progress.total_steps and trial.should_prune():
                trial.set_user_attr("steps", progress.step)
                raise optuna.TrialPruned

        run, state = start.again(config), optuna.trial.TrialState.COMPLETE
        try:
            run.train(partial=self.state_of(trial.params), resume=True, listen=told)
            (progress,) = run.progress
            kept = next((line for line in progress.history if line.step == progress.best_step), None)
            trial.set_user_attr("metric", kept.val_metric if kept else math.nan)
            trial.set_user_attr("steps", progress.step)
            if not math.isfinite(progress.best):
                state = optuna.trial.TrialState.PRUNED
        except optuna.TrialPruned:
            state = optuna.trial.TrialState.PRUNED
        except (ConfigError, torch.OutOfMemoryError):  # weights that diverge, a model too large: no good choice
            state = optuna.trial.TrialState.FAIL
        trial.set_user_attr("seconds", time.perf_counter() - started)
        study.tell(trial, run.progress[0].best if state is optuna.trial.TrialState.COMPLETE else None, state=state)
        best = _best(study)
        for folder in self.folder.iterdir():
            if folder.is_dir() and (best is None or folder != self.state_of(best.params)):
                shutil.rmtree(folder)

    def state_of(self, tried: Mapping[str, Any]) -> Path:
        """The folder of a configuration's state."""
        return self.folder / hashlib.sha256(json.dumps(tried, sort_keys=True).encode()).hexdigest()[:16]

    def result(self, study: optuna.Study, start: Run) -> Tuned:
        """The best run, as its trial left it, and what was tried."""
        best = _best(study)
        if best is None:
            raise ConfigError("no trial came to a finite validation loss", hint="see what rdl audit says of the task.")
        # A trial that ended where the budget did is kept as it was.
        run = start.again(replace(_config(start.config, best.params), time_budget_min=1e-6))
        run.train(partial=self.state_of(best.params), resume=True)
        run.config = replace(run.config, time_budget_min=None)
        trials = [
            _trial(number, trial) for number, trial in enumerate(t for t in study.trials if "seconds" in t.user_attrs)
        ]
        chosen = next(one for one in trials if one.tried == dict(best.params) and not one.pruned)
        return Tuned(trials, chosen, _importance(study), run)


def space(config: TrainConfig) -> dict[str, Any]:
    """The choices and what is tried of each: around the recipe's own."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    written = _written(config)
    first, *others = config.fanouts
    fanouts = {written["fanouts"], *map(_joined, [(max(1, first // 4), *others), (*config.fanouts, 4)])}
    if others:
        fanouts.add(_joined(config.fanouts[:-1]))
    widths = {max(8, config.channels // 2), config.channels, 2 * config.channels}
    summaries = {0, config.summaries // 4, config.summaries}
    return {
        "learning_rate": FloatDistribution(config.learning_rate / 4, config.learning_rate * 4, log=True),
        "dropout": FloatDistribution(0.0, max(0.6, config.dropout)),
        "weight_decay": FloatDistribution(
            max(config.weight_decay, 1e-4) / 10, max(config.weight_decay, 1e-4) * 10, log=True
        ),
        "channels": CategoricalDistribution(sorted(widths)),
        "fanouts": CategoricalDistribution(sorted(fanouts)),
        "summaries": CategoricalDistribution(sorted(summaries)),
    }


def _joined(fanouts: tuple[int, ...]) -> str:
    return ",".join(map(str, fanouts))


def _written(config: TrainConfig) -> Settings:
    """A config's own choices, as they are written down."""
    names = ("learning_rate", "dropout", "weight_decay", "channels", "summaries")
    return {**{name: getattr(config, name) for name in names}, "fanouts": _joined(config.fanouts)}


def settings_of(tried: Mapping[str, Any]) -> Settings:
    """Choices that were written down, as settings of a run."""
    settings = dict(tried)
    if "fanouts" in settings:
        settings["fanouts"] = tuple(map(int, settings["fanouts"].split(",")))
    return settings


def _config(config: TrainConfig, tried: Mapping[str, Any]) -> TrainConfig:
    return replace(config, **settings_of(tried))


def _best(study: optuna.Study) -> optuna.trial.FrozenTrial | None:
    """The trial of the least loss, the first such one; None where none came to an end."""
    ended = [trial for trial in study.trials if trial.state.name == "COMPLETE" and trial.value is not None]
    return min(ended, key=lambda trial: (trial.value, trial.number), default=None)


def _trial(number: int, trial: optuna.trial.FrozenTrial) -> Trial:
    reached = trial.value if trial.value is not None else min(trial.intermediate_values.values(), default=math.nan)
    known = trial.user_attrs
    return Trial(
        number, dict(trial.params), reached, known.get("metric", math.nan), known.get("steps", 0), known["seconds"],
        pruned=trial.state.name != "COMPLETE",
    )  # fmt: skip


def _importance(study: optuna.Study) -> dict[str, float]:
    """How much each choice mattered among whole trials (fANOVA, Hutter et al., 2014)."""
    import optuna

    whole = {trial.value for trial in study.trials if trial.state.name == "COMPLETE"}
    if len(whole) < WHOLE:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna's own lines are left out while it is used."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
