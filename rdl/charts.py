"""Charts as inline SVG that take the colours and the letters of the page they stand in, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from rdl.page import Html
from rdl.query.task import SPLITS, TaskTable
from rdl.windows import CLAUSES, Window, extent

if TYPE_CHECKING:  # a chart of windows needs no torch
    from rdl.progress import Progress
    from rdl.tuning import Trial

Floats = npt.NDArray[np.float64]

# Stand-ins for the colours of the page, put in their place when the chart is written.
INK, SOFT, RULE, BLUE, ORANGE, GREEN = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
_COLOURS = {INK: "--ink", SOFT: "--soft", RULE: "--rule", BLUE: "--a", ORANGE: "--b", GREEN: "--c"}
_OF_SPLIT = (BLUE, ORANGE, GREEN)
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none", "font.size": 9.0, "font.family": "sans-serif", "text.color": INK, "axes.edgecolor": RULE,
    "axes.labelcolor": SOFT, "axes.titlesize": 9.5, "axes.titlelocation": "left", "axes.titleweight": "bold",
    "axes.spines.top": False, "axes.spines.right": False, "xtick.color": SOFT, "ytick.color": SOFT,
    "xtick.labelcolor": SOFT, "ytick.labelcolor": SOFT, "grid.color": RULE, "grid.linewidth": 0.6, "axes.grid": True,
    "axes.axisbelow": True, "lines.linewidth": 1.6, "legend.frameon": False, "legend.fontsize": 8.5,
}  # fmt: skip
#: Anchors, bins and groups that a chart tells apart, at most.
MOST_ANCHORS, BINS, CALIBRATION_GROUPS = 150, 60, 10


def seeds_over_time(table: TaskTable) -> Html:
    """The number of seeds by time, coloured by split, with the begin of validation and of test."""

    def draw(axes: Axes) -> None:
        anchors = np.unique(table.time)
        edges = np.linspace(anchors[0], anchors[-1] + 1, 2 * BINS + 1)
        for number, (split, colour) in enumerate(zip(SPLITS, _OF_SPLIT, strict=True)):
            times = table.time[table.split == number]
            if not len(times):
                continue
            if len(anchors) <= MOST_ANCHORS:
                at, counts = np.unique(times, return_counts=True)
            else:
                counts, _ = np.histogram(times, edges)
                at = edges[:-1].astype(np.int64)[counts > 0]
                counts = counts[counts > 0]
            width = max(1.2, min(5.0, 300 / min(len(anchors), 2 * BINS)))
            axes.vlines(_dates(at), 0, counts, color=colour, linewidth=width, label=split.value)
        axes.set(ylabel="seeds")
        axes.set_ylim(bottom=0)
        axes.grid(axis="x", visible=False)
        _by_date(axes)
        axes.legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1)

    return _chart(draw, 10.4, 2.0)


def windows_around(windows: Sequence[Window]) -> Html:
    """What each window reads around the time t of a seed: what is known by then, and what the label is made of."""
    low, high = extent(windows)

    def draw(axes: Axes) -> None:
        axes.axvspan(low - 0.04 * (high - low), 0, color=BLUE, alpha=0.08, linewidth=0)
        axes.axvline(0, color=INK, linewidth=1.0)
        for line, window in enumerate(windows):
            colour = BLUE if window.edges[-1] <= 0 else ORANGE
            first, *ends = (max(edge, low) for edge in window.edges)
            for begin, end in zip([first, *ends], ends, strict=False):
                axes.barh(line, end - begin, left=begin, height=0.5, color=colour, alpha=0.75, edgecolor=RULE)
            if not np.isfinite(window.edges[0]):
                axes.plot([low], [line], "<", color=colour, markersize=7)
            axes.text(high + 0.02 * (high - low), line, str(window), va="center", color=SOFT, fontsize=8.5)
        axes.set_yticks(range(len(windows)), [f"{CLAUSES[window.clause]}: {window.text}" for window in windows])
        axes.set(xlim=(low - 0.04 * (high - low), high + 0.34 * (high - low)), xlabel="days from t")
        axes.set_ylim(len(windows) - 0.4, -0.9)
        for side, said, ha in ((1, "label →", "left"), (-1, "← known at t", "right")):
            axes.text(side * 0.01 * (high - low), -0.72, said, color=SOFT, fontsize=8.5, ha=ha)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False)

    return _chart(draw, 10.4, 1.0 + 0.34 * len(windows))


def loss_by_step(trained: Sequence[Progress], *, validation: bool = False) -> Html:
    """The mean training loss since the evaluation before, a line for each model; and the ``validation`` loss, where
    that is of the same sort."""

    def draw(axes: Axes) -> None:
        for number, progress in enumerate(trained):
            history = progress.history
            steps, alpha = [line.step for line in history], _faint(trained)
            label = "training" if number == 0 else None
            axes.plot(steps, [line.train_loss for line in history], color=BLUE, alpha=alpha, label=label)
            if validation:
                label = "validation" if number == 0 else None
                axes.plot(steps, [line.val_loss for line in history], color=ORANGE, alpha=alpha, label=label)
        if validation:
            axes.legend()
        axes.set(title="loss" if validation else "training loss", xlabel="step")

    return _chart(draw)


def metric_by_step(trained: Sequence[Progress], name: str) -> Html:
    """The metric on validation, a line for each model, with the step whose weights were kept."""

    def draw(axes: Axes) -> None:
        for progress in trained:
            history = progress.history
            steps, values = [line.step for line in history], [line.val_metric for line in history]
            axes.plot(steps, values, color=ORANGE, alpha=_faint(trained))
            for line in history:
                if line.step == progress.best_step and np.isfinite(line.val_metric):
                    if len(trained) == 1:
                        axes.axvline(line.step, color=SOFT, linewidth=0.8, linestyle=(0, (4, 3)))
                    axes.plot([line.step], [line.val_metric], "o", color=ORANGE, markersize=6)
        axes.set(title=f"validation {name}", xlabel="step")

    return _chart(draw)


def _faint(trained: Sequence[Progress]) -> float:
    return 1.0 if len(trained) == 1 else 0.6


def loss_by_trial(trials: Sequence[Trial]) -> Html:
    """The validation loss of each trial, hollow where it was cut short, and the best until then."""

    def draw(axes: Axes) -> None:
        whole = [one for one in trials if not one.pruned]
        for some, colour in ((whole, BLUE), ([one for one in trials if one.pruned], "none")):
            axes.scatter([one.number for one in some], [one.loss for one in some], 22, colour, edgecolors=BLUE)
        best = np.minimum.accumulate([one.loss for one in whole])
        axes.step([*(one.number for one in whole), len(trials) - 1], [*best, best[-1]], where="post", color=ORANGE)
        low, high = np.nanquantile([one.loss for one in trials], [0, 0.9])
        axes.set(title="validation loss by trial", xlabel="trial", ylim=(low - 0.08 * (high - low or 1), None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    return _chart(draw)


def bars(values: Mapping[str, float], title: str, label: str, colours: Sequence[str] = ()) -> Html:
    """A bar for each value by its name, the first on top, in ``colours`` if given."""

    def draw(axes: Axes) -> None:
        places = range(len(values))
        axes.barh(places, list(values.values()), height=0.62, color=colours or BLUE)
        axes.set_yticks(places, [_short(name) for name in values])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.axvline(0, color=SOFT, linewidth=0.8)
        axes.grid(axis="y", visible=False)
        axes.set(title=title, xlabel=label)

    return _chart(draw, 5.0 if len(values) < 9 else 10.4, max(2.7, 0.9 + 0.23 * len(values)))


def calibration(target: Floats, score: Floats) -> Html:
    """The share of positives against the mean score, in groups of equal size; bars are one standard error."""
    order = np.argsort(score, kind="stable")
    groups = [group for group in np.array_split(order, CALIBRATION_GROUPS) if len(group)]
    mean = np.array([score[group].mean() for group in groups])
    share = np.array([target[group].mean() for group in groups])
    error = np.sqrt(share * (1 - share) / np.array([len(group) for group in groups]))

    def draw(axes: Axes) -> None:
        top = min(1.0, 1.08 * max(mean.max(), (share + error).max(), 0.01))
        axes.plot([0, top], [0, top], color=SOFT, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.errorbar(mean, share, error, color=BLUE, marker="o", markersize=4, elinewidth=0.9)
        axes.set(title="calibration", xlabel="mean score", ylabel="share of positives", xlim=(0, top), ylim=(0, top))

    return _chart(draw)


def scores_by_class(target: Floats, score: Floats) -> Html:
    """How the scores of either class are distributed, each as shares of its own rows."""

    def draw(axes: Axes) -> None:
        edges = np.linspace(score.min(), max(score.max(), score.min() + 1e-9), 41)
        for value, colour, name in ((0, BLUE, "negative"), (1, ORANGE, "positive")):
            kept = score[target == value]
            if len(kept):
                shares = np.histogram(kept, edges)[0] / len(kept)
                axes.stairs(shares, edges, color=colour, fill=True, alpha=0.25)
                axes.stairs(shares, edges, color=colour, linewidth=1.4, label=f"{name} ({len(kept):,})")
        axes.set(title="scores by class", xlabel="score", ylabel="share of the class")
        axes.legend()

    return _chart(draw)


def predicted_and_actual(target: Floats, prediction: Floats) -> Html:
    """Actual against predicted values, darker where there are more, without the outermost half percent."""
    low, high = np.quantile(np.concatenate([target, prediction]), [0.005, 0.995])
    high = high if high > low else low + 1

    def draw(axes: Axes) -> None:
        inside = (np.minimum(target, prediction) >= low) & (np.maximum(target, prediction) <= high)
        shades = ListedColormap([(*to_rgb(BLUE), alpha) for alpha in np.linspace(0.12, 1, 24)])
        if inside.any():
            axes.hexbin(
                prediction[inside], target[inside], gridsize=32, bins="log", mincnt=1, cmap=shades, linewidths=0,
                extent=(low, high, low, high),
            )  # fmt: skip
        axes.plot([low, high], [low, high], color=SOFT, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set(title="predicted and actual", xlabel="predicted", ylabel="actual", xlim=(low, high), ylim=(low, high))

    return _chart(draw)


def errors(target: Floats, prediction: Floats) -> Html:
    """How predicted minus actual is distributed, without the outermost half percent."""
    error = prediction - target
    low, high = np.quantile(error, [0.005, 0.995])
    counts, edges = np.histogram(error, BINS, (low, high if high > low else low + 1))

    def draw(axes: Axes) -> None:
        axes.stairs(counts, edges, color=BLUE, fill=True, alpha=0.6)
        axes.axvline(0, color=SOFT, linewidth=0.8)
        axes.set(title="errors", xlabel="predicted − actual", ylabel="seeds")

    return _chart(draw)


def confusion(names: Sequence[str], shares: Floats) -> Html:
    """Of each actual class the shares of what is predicted ``[actual, predicted]``, darker where there are more."""

    def draw(axes: Axes) -> None:
        places = np.arange(len(names))
        for row, column in np.ndindex(shares.shape):
            share = shares[row, column]
            axes.add_patch(
                Rectangle((column - 0.5, row - 0.5), 1, 1, color=BLUE, alpha=0.05 + 0.9 * share, linewidth=0)
            )
            axes.text(column, row, f"{share:.0%}", ha="center", va="center", fontsize=7, color=INK)
        short = [_short(name, 16) for name in names]
        axes.set_xticks(places, short, rotation=30 if len(names) > 4 else 0)
        axes.set_yticks(places, short)
        axes.set(title="actual and predicted", xlabel="predicted", ylabel="actual")
        axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5))
        axes.grid(visible=False)

    return _chart(draw, 5.0, max(2.7, 1.2 + 0.24 * len(names)))


def reliability(levels: Floats, shares: Floats) -> Html:
    """The share of labels that lie below each predicted quantile, against the share that should."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.plot(levels, shares, color=BLUE, marker="o", markersize=4)
        axes.set(title="quantiles", xlabel="quantile", ylabel="share of labels below", xlim=(0, 1), ylim=(0, 1))

    return _chart(draw)


def metric_by_time(time: npt.NDArray[np.int64], values: Mapping[str, Floats], name: str) -> Html:
    """A metric of the model, the first of ``values``, and of others at each time µs; where it has no value, nothing."""

    def draw(axes: Axes) -> None:
        for (label, value), colour in zip(values.items(), (BLUE, ORANGE, SOFT), strict=False):
            known = np.isfinite(value)
            size, width = (3.5, 1.6) if colour == BLUE else (2.5, 1.0)
            axes.plot(
                _dates(time[known]), value[known], color=colour, marker="o", markersize=size, linewidth=width,
                label=label,
            )  # fmt: skip
        axes.set(title=f"test {name}")
        if len(values) > 1:
            axes.legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1)
        _by_date(axes)

    return _chart(draw, 10.4, 2.3)


def _short(name: str, most: int = 60) -> str:
    """``name``, drawn as it is written (a dollar sign begins no formula), and without its middle where it is long."""
    short = name if len(name) <= most else f"{name[: most // 2]}…{name[-most // 2 :]}"
    return short.replace("$", r"\$")


def _dates(time: npt.NDArray[np.int64]) -> npt.NDArray[np.datetime64]:
    return time.astype("datetime64[us]")


def _by_date(axes: Axes) -> None:
    locator = AutoDateLocator(minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _chart(draw: Callable[[Axes], None], width: float = 5.0, height: float = 2.7) -> Html:
    """What ``draw`` puts on axes, as an ``<svg>`` element without anything that leads elsewhere."""
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": draw.__qualname__}):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.subplots())
        written = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    return Html(_cleaned(written.getvalue()))


def _cleaned(svg: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    used = set(re.findall(r"#([\w.-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    for stand_in, name in _COLOURS.items():
        svg = svg.replace(stand_in, f"var({name})")
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r"font: (?:(\w+) )?([\d.]+px) [^;\"]*", _font, svg)
    return re.sub(r"\s*\n\s*", "\n", svg)


def _font(found: re.Match[str]) -> str:
    weight = f"; font-weight: {found[1]}" if found[1] else ""
    return f"font-size: {found[2]}{weight}"
