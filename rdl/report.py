"""``report.html``: one self-contained page a run, to keep and to send."""

from __future__ import annotations

import io
import math
import re
import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve

from rdl.clock import format_time
from rdl.diagram import STYLE, draw_schema
from rdl.metrics import evaluate, headline
from rdl.query.task import Kind, Split, TaskTable
from rdl.run import Figures, Run, peak_rss_mb, versions

_BLUE, _ORANGE, _GREY = "#2f5fd0", "#d9822b", "#8a919c"


def write_report(run: Run, path: Path, *, url: str) -> None:
    """Writes the page: question, data, splits, figures beside the baselines, curves, how to reproduce it."""
    predicted = {split: run.predict_split(split) for split in (Split.val, Split.test)}
    sections = [
        f"<h1>{escape(_title(run))}</h1>",
        f"<pre>{escape(run.task.source.strip())}</pre>",
        f"<p>{escape(verdict(run.task.kind, run.metrics, run.baselines))}</p>",
        "<h2>Figures</h2>",
        _figures(run),
        "<h2>Training</h2>",
        _plot(lambda figure: _learning(figure, run), 9.5, 2.6) if run.progress.history else "",
        f'<p class="soft">{escape(_stopped(run))}</p>',
        "<h2>Predictions on test</h2>",
        _predictions(run, predicted[Split.test]),
        "<h2>Data and splits</h2>",
        _plot(lambda figure: _timeline(figure, run.table), 9.5, 1.9),
        _splits(run),
        f'<div class="scroll">{draw_schema(run.snapshot.schema, run.snapshot.schema, run.snapshot.num_rows)}</div>',
        "<h2>Reproduce</h2>",
        f"<pre>{escape(_command(run, url))}</pre>",
        f'<p class="soft">{escape(_cost(run))}</p>',
    ]
    title = escape(_title(run))
    path.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        f"<body>{''.join(sections)}</body></html>\n",
        encoding="utf-8",
    )


def verdict(kind: Kind, metrics: Figures, baselines: dict[str, Figures]) -> str:
    """One sentence: by how much the model beats the best baseline on test, or that it does not."""
    main, higher = headline(kind)
    model = metrics.get("test", {}).get(main)
    known = {n: v for n, f in baselines.items() if (v := f.get("test", {}).get(main)) is not None and not math.isnan(v)}
    if model is None or math.isnan(model) or not known:
        return "There is nothing to compare on the test split."
    name = (max if higher else min)(known, key=lambda n: known[n])
    gain = (model - known[name]) * (1 if higher else -1)
    if gain > 0:
        return f"The model beats the best baseline ({name}) by {gain:.4f} {main} on test."
    return f"Warning: the baseline {name} is better than the model by {-gain:.4f} {main} on test."


def _title(run: Run) -> str:
    what = {Kind.binary: "Yes or no", Kind.regression: "A number"}.get(run.task.kind, run.task.kind.value)
    return f"{what} for each {run.task.entity}, regime {run.config.regime}"


def _figures(run: Run) -> str:
    """The model beside the baselines, the best of each column marked."""
    main, _ = headline(run.task.kind)
    names = [main, *(name for name in run.metrics.get("test", {}) if name != main)]
    columns = [(split, name) for name in names for split in ("val", "test")]
    head = "".join(f"<th class=n>{split} {escape(name)}</th>" for split, name in columns)
    rows = {"model": run.metrics, **run.baselines}
    body = []
    for label, figures in rows.items():
        cells = []
        for split, name in columns:
            value = figures.get(split, {}).get(name)
            text = "–" if value is None or math.isnan(value) else f"{value:.4f}"
            best = name == main and value is not None and value == _best(rows, split, main, run.task.kind)
            cells.append(f"<td class=n>{f'<b class=best>{text}</b>' if best else text}</td>")
        body.append(f"<tr><td>{escape(label)}</td>{''.join(cells)}</tr>")
    return f'<div class="scroll"><table><tr><th></th>{head}</tr>{"".join(body)}</table></div>'


def _best(rows: dict[str, Figures], split: str, name: str, kind: Kind) -> float | None:
    found = [f[split][name] for f in rows.values() if split in f and not math.isnan(f[split].get(name, math.nan))]
    return ((max if headline(kind)[1] else min)(found)) if found else None


def _plot(draw: object, width: float, height: float) -> str:
    """What ``draw`` puts on a figure, as inline SVG."""
    with rc_context({"svg.fonttype": "none", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)  # type: ignore[operator]
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None})
    svg = written.getvalue()
    return f"<figure>{svg[svg.index('<svg') :]}</figure>"


def _learning(figure: Figure, run: Run) -> None:
    history = run.progress.history
    steps = [line.step for line in history]
    loss, metric = figure.subplots(1, 2)
    loss.plot(steps, [line.train_loss for line in history], color=_GREY)
    loss.set(title="training loss", xlabel="step")
    metric.plot(steps, [line.val_metric for line in history], color=_BLUE)
    if run.progress.best_step in steps:
        best = history[steps.index(run.progress.best_step)]
        metric.plot([best.step], [best.val_metric], "o", color=_ORANGE)
        metric.annotate("kept", (best.step, best.val_metric), textcoords="offset points", xytext=(6, -10))
    metric.set(title=f"validation {headline(run.task.kind)[0]}", xlabel="step")


def _predictions(run: Run, predicted: npt.NDArray[np.float64]) -> str:
    test = run.table.of(Split.test)
    if len(test) < 2:
        return "<p>There are too few test rows to draw.</p>"
    drawn = [_plot(lambda figure: _quality(figure, run.task.kind, test.target, predicted), 9.5, 3.0)]
    anchors = np.unique(test.time)
    if 3 <= len(anchors) <= 400:
        drawn.append(_plot(lambda figure: _by_time(figure, run, test, predicted, anchors), 9.5, 2.2))
    return "".join(drawn)


def _quality(figure: Figure, kind: Kind, target: npt.NDArray[np.float64], predicted: npt.NDArray[np.float64]) -> None:
    left, right = figure.subplots(1, 2)
    if kind is Kind.binary:
        share, mean = calibration_curve(target, predicted, n_bins=10, strategy="quantile")
        left.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8)
        left.plot(mean, share, "o-", color=_BLUE, markersize=4)
        left.set(title="calibration", xlabel="predicted", ylabel="observed", xlim=(0, 1), ylim=(0, 1))
        bins = np.linspace(0, 1, 31)
        for value, colour, name in ((0, _GREY, "no"), (1, _ORANGE, "yes")):
            right.hist(predicted[target == value], bins, color=colour, alpha=0.65, label=name)
        right.set(title="scores by outcome", xlabel="score", ylabel="rows")
        right.legend(frameon=False)
    else:
        low, high = np.quantile(np.concatenate([target, predicted]), [0.005, 0.995])
        left.hexbin(predicted, target, gridsize=35, cmap="Blues", mincnt=1, bins="log")
        left.plot([low, high], [low, high], color=_ORANGE, linewidth=0.8)
        left.set(title="predicted and actual", xlabel="predicted", ylabel="actual", xlim=(low, high), ylim=(low, high))
        right.hist(predicted - target, 40, color=_BLUE)
        right.set(title="error", xlabel="predicted − actual", ylabel="rows")


def _by_time(
    figure: Figure, run: Run, test: TaskTable, predicted: npt.NDArray[np.float64], anchors: npt.NDArray[np.int64]
) -> None:
    """The headline metric at each test anchor; gaps where it has no value (one class only)."""
    main, _ = headline(run.task.kind)
    train = run.table.of(Split.train).target
    values = []
    for anchor in anchors:
        rows = test.time == anchor
        values.append(evaluate(run.task.kind, test.target[rows], predicted[rows], train_target=train)[main])
    axes: Axes = figure.subplots()
    axes.plot(anchors.astype("datetime64[us]"), np.array(values, float), "o-", color=_BLUE, markersize=3)  # type: ignore[arg-type]
    axes.set(title=f"test {main} by anchor")


def _timeline(figure: Figure, table: TaskTable) -> None:
    """The rows asked about by time and split."""
    axes: Axes = figure.subplots()
    times = table.time.astype("datetime64[us]").astype("datetime64[s]").astype(float)
    bins = np.linspace(times.min(), times.max() + 1, 121)
    for number, (split, colour) in enumerate(zip(Split, (_GREY, _BLUE, _ORANGE), strict=True)):
        axes.hist(times[table.split == number], bins, color=colour, label=split.value)
    ticks = np.linspace(times.min(), times.max(), 6)
    axes.set_xticks(ticks, [str(np.datetime64(int(tick), "s").astype("datetime64[D]")) for tick in ticks])
    axes.set(ylabel="rows")
    axes.legend(frameon=False, ncols=3)


def _splits(run: Run) -> str:
    rows = []
    for split in Split:
        part = run.table.of(split)
        if not len(part):
            rows.append(f"<tr><td>{split}</td><td class=n>0</td><td></td><td></td><td></td></tr>")
            continue
        first, last = format_time(int(part.time.min())), format_time(int(part.time.max()))
        rows.append(
            f"<tr><td>{split}</td><td class=n>{len(part):,}</td><td class=n>{len(np.unique(part.time)):,}</td>"
            f"<td>{first} to {last}</td><td class=n>{part.target.mean():.4g}</td></tr>"
        )
    mean = "share of yes" if run.task.kind is Kind.binary else "mean label"
    return (
        f"<table><tr><th></th><th class=n>rows</th><th class=n>times</th><th>from, to</th><th class=n>{mean}</th></tr>"
        f"{''.join(rows)}</table>"
    )


def _stopped(run: Run) -> str:
    progress = run.progress
    why = f": {progress.stopped}" if progress.stopped else ""
    return f"{progress.step} steps{why}; the weights of step {progress.best_step} were best on validation and are kept."


def _command(run: Run, url: str) -> str:
    query = re.sub(r"\s+", " ", run.task.source.strip())
    words: Sequence[str] = ["rdl", "train", query, "--db", url, "--out", "run", "--regime", run.config.regime.value]
    return f"{shlex.join(words)} --seed {run.config.seed}"


def _cost(run: Run) -> str:
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in run.seconds.items())
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{seconds}; peak memory {peak_rss_mb():.0f} MB. {packages}"
