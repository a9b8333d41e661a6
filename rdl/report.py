"""``report.html``: one page a run that stands alone, to keep and to send.

It says what was asked of which data, how good the model is beside the baselines, and how to do it again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rdl import boosting, charts
from rdl.answers import drawings, means, middle, standard_error, unseen
from rdl.blending import blend_note, figures_by_name
from rdl.clock import US_PER_DAY, format_time
from rdl.config import Regime
from rdl.errors import redact
from rdl.machine import peak_rss_mb, versions
from rdl.metrics import SOON, evaluate, headline, loss
from rdl.page import Html, bullets, element, join, page
from rdl.page import table as html_table
from rdl.query.task import Kind, Split, Task, TaskTable
from rdl.reproduce import command
from rdl.run import Run
from rdl.schema_diagram import draw_diagram
from rdl.scoring import Figures
from rdl.segments import LEAST_SEEDS, Segment, segments

Floats = npt.NDArray[np.float64]

#: Metrics for people, and those of which less is better.
_NAMES = {
    "auroc": "AUROC", "average_precision": "average precision", "log_loss": "log loss", "brier": "Brier score",
    "mae": "MAE", "rmse": "RMSE", "r2": "R²", "nmae": "normalised MAE", "macro_f1": "macro F1", "mrr": "MRR",
    "macro_auroc": "macro AUROC", "macro_average_precision": "macro average precision", "micro_f1": "micro F1",
    "pinball": "pinball loss",
}  # fmt: skip
#: Figures of one timeframe or interval, by the beginning of their name; what follows says of which.
_PARTS = {"mae_": "MAE, timeframe", "coverage_": "share inside, of %", "width_": "mean width, of %"}
_LESS_IS_BETTER = ("log_loss", "brier", "mae", "rmse", "nmae", "pinball", "width_")
#: Metrics are drawn by anchor where there are at least the one and at most the other many; beyond, by groups of them.
LEAST_ANCHORS, MOST_ANCHORS, TIME_GROUPS = 3, 60, 20
#: Inputs drawn by their importance, at most.
MOST_IMPORTANT = 18


def write_report(run: Run, path: Path, *, url: str) -> None:
    """Writes the page to ``path``. Nothing in it leads elsewhere; no password of ``url`` is in it."""
    test = run.table.of(Split.test)
    predicted = run.predicted["model"]["test"] if "model" in run.predicted else run.predict_split(Split.test)
    labels = test.dense()
    known = np.flatnonzero(np.isfinite(labels if labels.ndim > 1 else labels[:, None]).any(axis=1))
    test, target, prediction = test.take(known), labels[known], predicted[known]
    drawn = (boosting.name(run.task.kind, run.table), "past label")
    others = {name: run.predicted[name]["test"][known] for name in drawn if name in run.predicted}
    error = standard_error(run.task.kind, target, prediction)
    parts = [
        *_question(run),
        _judged(run, error),
        element("h2", "Quality"),
        *_quality(run),
        element("h2", "Predictions on test"),
        *_predictions(run, test, prediction, others),
        element("h2", "Error by segment"),
        *_segments(run, test, prediction, others),
        element("h2", "What the model reads"),
        *_importance(run),
        element("h2", "Training"),
        *_training(run),
        element("h2", "Data and splits"),
        *_data(run, url),
        element("h2", "Reproduce"),
        *_again(run, url),
    ]
    path.write_text(page(_title(run.task), *parts), encoding="utf-8")


def verdict(kind: Kind, metrics: Figures, baselines: Mapping[str, Figures]) -> str:
    """One sentence: by how much the model beats the best baseline on test, or that it does not."""
    main, higher = headline(kind)
    model = _value(metrics, "test", main)
    found = {name: value for name in baselines if not math.isnan(value := _value(baselines[name], "test", main))}
    if math.isnan(model) or not found:
        return "There is nothing to compare on the test split."
    best = (max if higher else min)(found, key=lambda name: found[name])
    gain = (model - found[best]) * (1 if higher else -1)
    figures = f"on test {_named(main)}: {model:.4f} against {found[best]:.4f}"
    if gain > 0:
        return f"The model beats every baseline {figures} of {best}, {gain:.4f} better."
    if gain == 0:
        return f"Warning: the model is no better than {best} {figures}. Use the baseline, or train longer."
    return f"Warning: {best} is better than the model {figures[: figures.index(':')]}: " + (
        f"{found[best]:.4f} against {model:.4f}, by {-gain:.4f}. Use it, or train longer."
    )


def _value(figures: Figures, split: str, name: str) -> float:
    value = figures.get(split, {}).get(name)
    return math.nan if value is None else value


def _named(metric: str) -> str:
    for begin, words in _PARTS.items():
        if metric.startswith(begin):
            return f"{words} {metric.removeprefix(begin)}"
    return _NAMES.get(metric, metric)


def _title(task: Task) -> str:
    line = " ".join(task.source.split())
    return f"rdl: {line[:90]}{'…' if len(line) > 90 else ''}"


def _question(run: Run) -> Iterator[Html]:
    """The query, or the folder of a task that is asked in SQL with that SQL; and what sort of question it is."""
    task = run.task
    yield element("h1", element("code", task.source.strip()), kind="question")
    yield element(
        "p", f"{task.kind.value}, for each row of {task.entity}, regime {run.config.regime.value}", kind="soft"
    )
    if task.sql is not None:
        yield element("pre", task.sql.sql.strip())
        yield element("p", f"with {{timedelta}} = {task.sql.timedelta}", kind="soft")


def _judged(run: Run, error: float) -> Html:
    """The verdict, with what it is worth: the standard error of the model's figure."""
    kind, (main, _) = run.task.kind, headline(run.task.kind)
    said = verdict(kind, run.metrics, run.baselines)
    mark = "warn" if said.startswith(("Warning", "There")) else "good"
    model = _value(run.metrics, "test", main)
    if not math.isnan(error) and not math.isnan(model):
        said += f" The standard error of the model's figure is about {error:.4f}, its seeds taken as independent"
        if any(abs(_value(figures, "test", main) - model) < 2 * error for figures in run.baselines.values()):
            said += ": a difference of less than twice that may be chance"
            mark = "even" if mark == "good" else mark
        said += "."
    return element("div", said, kind=mark)


def _quality(run: Run) -> Iterator[Html]:
    """The model's figures beside the baselines', the headline first and the best of each marked."""
    main, _ = headline(run.task.kind)
    rows = figures_by_name(run)
    for split, title in ((Split.test, "Test"), (Split.val, "Validation")):
        names = dict.fromkeys([main, *(name for figures in rows.values() for name in figures.get(split.value, {}))])
        if not any(figures.get(split.value) for figures in rows.values()):
            yield element("p", f"{title}: no seeds.", kind="soft")
            continue
        best = {name: _best([_value(figures, split.value, name) for figures in rows.values()], name) for name in names}
        lines = []
        for label, figures in rows.items():
            values = {name: _value(figures, split.value, name) for name in names}
            lines.append([label, *(_marked(value, value == best[name]) for name, value in values.items())])
        arrows = {name: "↓" if name.startswith(_LESS_IS_BETTER) else "↑" for name in names}
        arrows |= {name: "" for name in names if name.startswith("coverage_")}
        yield element("h3", f"{title}, regime {run.config.regime}")
        yield html_table(["", *(f"{_named(n)} {arrows[n]}" for n in names)], lines, numbers=len(names), first=0)
    if run.blend is not None:
        yield element("p", blend_note(run.blend), " Predictions are the model's alone.", kind="soft")
    yield element("p", f"↑ more is better, ↓ less is better. {_seen(run)}", kind="soft")


def _best(values: list[float], name: str) -> float:
    known = [value for value in values if not math.isnan(value) and not name.startswith("coverage_")]
    return (min if name.startswith(_LESS_IS_BETTER) else max)(known, default=math.nan)


def _marked(value: float, best: bool) -> Html | str:
    shown = "–" if math.isnan(value) else f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"
    return element("span", shown, kind="best") if best else shown


def _seen(run: Run) -> str:
    """What an evaluation may see, in words."""
    if run.config.regime is Regime.seed_time:
        return "Regime seed-time: model and baselines see, for each seed, all that was known at its own time."
    cuts = format_time(run.table.val_cut), format_time(run.table.test_cut)
    return f"Regime frozen: nothing newer than {cuts[0]} is seen in validation, nothing newer than {cuts[1]} in test."


def _predictions(run: Run, test: TaskTable, prediction: Floats, others: Mapping[str, Floats]) -> Iterator[Html]:
    target, times = test.dense(), test.time
    if len(target) < 2:
        yield element("p", "There are too few labelled seeds to draw.", kind="soft")
        return
    yield _pair(drawings(run.task.kind, target, prediction, run.table.classes, run.config.quantiles))
    anchors = np.unique(times)
    if len(anchors) >= LEAST_ANCHORS:
        groups = anchors if len(anchors) <= MOST_ANCHORS else _group_starts(times)
        of = np.searchsorted(groups, times, "right") - 1
        numbers, (name, *_) = np.unique(of), _compared(run)
        lines = {
            label: np.array([_figures(run, target[of == n], each[of == n], [name])[name] for n in numbers])
            for label, each in {"model": prediction, **others}.items()
        }
        caption = (
            "" if groups is anchors else f"In {len(numbers)} groups of about as many seeds, at the first time of each."
        )
        over_time = f"{_named(name)} over time, regime {run.config.regime}"
        yield _figure(charts.metric_by_time(groups[numbers], lines, over_time), caption)


def _compared(run: Run) -> list[str]:
    """The figures by which parts of the test seeds are compared: the headline, and that which chose the weights. A mean
    of AUROCs over classes says little of few seeds, and takes long: there it is the latter alone."""
    kind, judged_by = run.task.kind, run.objective.judged_by
    return [judged_by] if kind is Kind.multilabel else list(dict.fromkeys([headline(kind)[0], judged_by]))


def _figures(run: Run, target: npt.NDArray[Any], prediction: Floats, names: Sequence[str]) -> dict[str, float]:
    """Some figures of predictions for labels ``target``, as :meth:`rdl.query.task.TaskTable.dense` gives them."""
    kind, levels = run.task.kind, run.config.quantiles
    soon = {name: loss(kind, name, target, prediction, levels) for name in names if name in SOON}
    if len(soon) == len(names):
        return soon
    return evaluate(kind, target, prediction, train_target=target, quantiles=levels)


def _segments(run: Run, test: TaskTable, prediction: Floats, others: Mapping[str, Floats]) -> Iterator[Html]:
    """Where the model errs: its figures, and LightGBM's, on parts of the test seeds."""
    found = segments(run, test) if len(test) else []
    if not found:
        yield element("p", "There are no parts of the test seeds that are large enough to compare.", kind="soft")
        return
    kind, levels, names = run.task.kind, run.config.quantiles, _compared(run)
    rows = {"model": prediction, **{name: each for name, each in others.items() if name.startswith("LightGBM")}}
    lines: list[list[object]] = []
    labels, middles = test.dense(), means(kind, levels)
    for one in [Segment("all", "", np.arange(len(test))), *found]:
        target = labels[one.rows]
        figures = [_figures(run, target, each[one.rows], names) for each in rows.values()]
        shown = [_marked(of[name], False) for name in names for of in figures]
        line = [f"{mean(target, prediction[one.rows]):.3g}" for mean in middles.values()]
        lines.append([f"{one.by} {one.value}", f"{len(target):,}", *line, *shown])
    heads = [*middles, *(f"{name} {_named(metric)}" for metric in names for name in rows)]
    yield html_table(["", "seeds", *heads], lines, numbers=1 + len(heads), first=0)
    yield element(
        "p", "Of the test seeds, by the rows that refer to each and were known at its time, and by its own categories; "
        f"segments of under {LEAST_SEEDS} seeds are left out.", kind="soft",
    )  # fmt: skip


def _importance(run: Run) -> Iterator[Html]:
    """What the model leans on: the largest growths of the validation loss."""
    top = [one for one in run.importance if one.growth > 0][:MOST_IMPORTANT]
    if not top:
        why = "Nothing that was spoilt made the loss on validation grow." if run.importance else "It was not measured."
        yield element("p", why, kind="soft")
        return
    said = {"column": "column", "relation": "relation", "past": "aggregates", "aggregate": "aggregate"}
    colours = {"column": charts.BLUE, "relation": charts.ORANGE, "past": charts.GREEN, "aggregate": charts.GREEN}
    values = {f"{said[one.kind]} {one.name}": one.growth for one in top}
    yield _figure(
        charts.bars(values, "growth of the validation loss", "", [colours[one.kind] for one in top]),
        "By how much the loss grows where one input is spoilt: a column permuted among the rows of its table (blue), a "
        "relation followed no more (orange), aggregates of the past permuted among the seeds (green). What two inputs "
        "say both is counted with neither; of few seeds, small bars are chance.",
    )


def _group_starts(times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The first times of groups of about equally many seeds."""
    ordered = np.sort(times)
    return np.unique(ordered[np.linspace(0, len(ordered), TIME_GROUPS, endpoint=False).astype(np.int64)])


def _figure(chart: Html, caption: str) -> Html:
    return element("figure", chart, element("figcaption", caption) if caption else "")


def _pair(shown: Mapping[Html, str]) -> Html:
    return element("div", *(_figure(chart, caption) for chart, caption in shown.items()), kind="pair")


def _training(run: Run) -> Iterator[Html]:
    trained = [progress for progress in run.progress if progress.history]
    if not trained:
        yield element("p", "The model has not been trained.", kind="soft")
        return
    name, _ = headline(run.task.kind)
    known = any(math.isfinite(line.val_loss) for progress in trained for line in progress.history)
    over = f"{_named(name)}, regime {run.config.regime}"
    same = run.objective.judged_by == "log_loss" and not run.objective.weights  # as what is trained on
    drawn = {charts.loss_by_step(trained, validation=known and same): "", charts.metric_by_step(trained, over): ""}
    yield _pair(drawn if known else {charts.loss_by_step(trained): ""})
    for progress in trained:
        of = f"Model {progress.seed}: training" if len(trained) > 1 else "Training"
        why = f": {progress.stopped}" if progress.stopped else ""
        kept = "The last weights are kept."
        if known:
            kept = f"Kept are the weights of step {progress.best_step:,}, the best on validation."
        yield element("p", f"{of} ended at step {progress.step:,}{why}. {kept}")
    seconds = ", ".join(f"{stage} {value:.1f} s" for stage, value in run.seconds.items())
    yield element("p", f"{seconds}{'; ' if seconds else ''}peak memory {peak_rss_mb():,.0f} MB.", kind="soft")


def _data(run: Run, url: str) -> Iterator[Html]:
    rows = run.snapshot.num_rows
    yield element("p", element("code", redact(url)), f": {len(rows):,} tables, {sum(rows.values()):,} rows.")
    if len(run.table):
        yield _figure(charts.seeds_over_time(run.table), "")
    kind = run.task.kind
    lines = [[split.value, *_split(kind, run.table.of(split))] for split in Split]
    yield html_table(["", "first time", "last time", "times", "seeds", middle(kind, run.table)[0]], lines, numbers=3)
    yield bullets(unseen(run.table))
    yield element("p", _window(run.task), kind="soft")
    hidden = ", ".join(f"{table}.{column}" for table, column in sorted(run.task.hidden))
    yield element("p", f"Never an input: {hidden}.", kind="soft") if hidden else Html()
    yield bullets(run.task.warnings)
    diagram = element("div", Html(draw_diagram(run.snapshot.schema, rows)), kind="wide")
    yield element("details", element("summary", "Tables and relations"), diagram)


def _split(kind: Kind, part: TaskTable) -> list[str]:
    if not len(part):
        return ["", "", "0", "0", "–"]
    first, last = format_time(int(part.time.min())), format_time(int(part.time.max()))
    return [first, last, f"{len(np.unique(part.time)):,}", f"{len(part):,}", middle(kind, part)[1]]


def _window(task: Task) -> str:
    if task.row_level:
        return "Each seed is a row at its own time; it sees other rows that are strictly older."
    if task.sql is not None:
        return f"A label looks at the {task.sql.window_us / US_PER_DAY:g} days after its time."
    return f"A label looks at the {task.horizon} after its time." if task.horizon else ""


def _again(run: Run, url: str) -> Iterator[Html]:
    yield element("pre", command(run.task.source, run.config, url))
    made = {**versions(), "schema": run.snapshot.schema.fingerprint()}
    yield element("p", join((f"{name} {value}" for name, value in made.items()), ", "), kind="soft")
