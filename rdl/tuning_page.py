"""``tuning.html`` and ``trials.csv``: what was tried, what it came to, and which choices mattered."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from rdl import charts
from rdl.page import Html, element, page
from rdl.page import table as html_table
from rdl.query.task import Task
from rdl.reproduce import command
from rdl.tuning import Tuned

#: Trials in the table of the page, at most; ``trials.csv`` holds all.
MOST_TRIALS = 50


def write_tuning(tuned: Tuned, folder: Path, task: Task, url: str) -> None:
    """Writes both files into ``folder``. No password of ``url`` is in them."""
    names = list(tuned.best.tried)
    with (folder / "trials.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "val_loss", "val_metric", "steps", "seconds", "pruned", *names])
        for one in tuned.trials:
            figures = [one.number, one.loss, one.metric, one.steps, round(one.seconds, 3), int(one.pruned)]
            writer.writerow([*figures, *(one.tried[name] for name in names)])
    (folder / "tuning.html").write_text(_page(tuned, task, url), encoding="utf-8")


def said(tuned: Tuned) -> str:
    """One sentence: what the search came to beside the recipe as it is."""
    trials, best = tuned.trials, tuned.best
    whole = sum(not one.pruned for one in trials)
    number = f"{len(trials)} trials, {len(trials) - whole} of them cut short: " if len(trials) > 1 else "One trial: "
    if best.number == 0:
        return f"{number}none is better on validation than the recipe as it is, whose loss is {best.loss:.4f}."
    losses = f"a loss of {best.loss:.4f} against {trials[0].loss:.4f} of the recipe as it is"
    return f"{number}trial {best.number} is best on validation, with {losses}."


def shown(value: Any) -> str:
    """A setting for people.

    >>> shown(0.00123456), shown("64,4")
    ('0.00123', '64,4')
    """
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _page(tuned: Tuned, task: Task, url: str) -> str:
    names = list(tuned.best.tried)
    drawn = [charts.loss_by_trial(tuned.trials)]
    if tuned.importance:
        shares = {name.replace("_", " "): share for name, share in tuned.importance.items()}
        drawn.append(charts.bars(shares, "how much each choice mattered", "share of the variance of the loss"))
    ranked = sorted(tuned.trials, key=lambda one: (one.pruned, math.inf if math.isnan(one.loss) else one.loss))
    lines = [
        [f"{one.number}{' (the recipe)' if one.number == 0 else ''}", "cut short" if one.pruned else ""]
        + [shown(one.tried[name]) for name in names]
        + [f"{one.loss:.4f}", "–" if math.isnan(one.metric) else f"{one.metric:.4f}", f"{one.seconds:.0f}"]
        for one in ranked[:MOST_TRIALS]
    ]
    heads = ["trial", "", *(name.replace("_", " ") for name in names), "val loss", "val metric", "seconds"]
    seen = "Loss and metric are of validation: test was not looked at. The best is the best of many on the same seeds, "
    parts = [
        element("h1", element("code", task.source.strip()), kind="question"),
        element("div", said(tuned), kind="even" if tuned.best.number == 0 else "good"),
        element("div", *(element("figure", chart) for chart in drawn), kind="pair"),
        element("p", f"{seen}so it flatters itself a little; report.html has the figures of test.", kind="soft"),
        element("h2", "Trials"),
        html_table(heads, lines, numbers=len(names) + 3, first=0),
        element("h2", "Train the best again"),
        element("pre", command(task.source, tuned.run.config, url)),
    ]
    return page("rdl: tuning", *(part for part in parts if part != Html()))
