"""What is learnt of a table's columns at the training cut, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch_frame import stype
from torch_frame.data.stats import StatType

from rdl.columns import STATES


@dataclass(frozen=True, slots=True)
class Words:
    """The vocabulary of a column of lists, by falling count; ``separator`` parts the elements where the lists are
    written as text, else it is empty."""

    words: tuple[str, ...]
    separator: str = ""


@dataclass(frozen=True, slots=True)
class Centre:
    """The mean of a column's vectors ``[channels]``, and the root mean square of what they deviate from it."""

    mean: tuple[float, ...]
    scale: float


@dataclass(frozen=True, slots=True)
class Statistics:
    """What was learnt of one table's columns at the training cut.

    ``numerical[column]`` is (median, scale); ``categories[column]`` the vocabulary by falling count, as text;
    ``lists`` are the columns of lists of categories, ``vectors`` those of numbers; ``texts`` and ``times`` are column
    names, ``text_channels`` is the width of a text's vector. A column in none of them is no input. ``late[column]``
    are the inputs that become known at the time in ``column``, which is later than their row. ``identities`` are those
    of the categories that say which row it is: none but the rows known at the cut has an entry of its own.
    """

    numerical: Mapping[str, tuple[float, float]]
    categories: Mapping[str, tuple[str, ...]]
    lists: Mapping[str, Words]
    vectors: Mapping[str, Centre]
    texts: tuple[str, ...]
    text_channels: int
    times: tuple[str, ...]
    late: Mapping[str, tuple[str, ...]]
    identities: tuple[str, ...] = ()

    def stats_list(self) -> dict[str, dict[StatType, Any]]:
        """The statistics in torch-frame's form, by column. Numbers are already standardised."""
        return {
            **{name: {StatType.MEAN: 0.0, StatType.STD: 1.0} for name in self.numerical},
            **{name: {StatType.COUNT: _counted(words)} for name, words in self.categories.items()},
            **{name: {StatType.MULTI_COUNT: _counted(known.words)} for name, known in self.lists.items()},
            **{name: {StatType.EMB_DIM: self.text_channels} for name in self.texts},
            **{name: {StatType.EMB_DIM: len(centre.mean)} for name, centre in self.vectors.items()},
            **{name: {} for name in self.times},
        }

    def columns(self) -> dict[stype, list[str]]:
        """The column names by torch-frame stype, in the order of the packed tensors; no empty entries."""
        named = {
            stype.numerical: list(self.numerical),
            stype.categorical: list(self.categories),
            stype.multicategorical: list(self.lists),
            stype.embedding: [*self.texts, *self.vectors],
            stype.timestamp: list(self.times),
        }
        return {kind: names for kind, names in named.items() if names}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Statistics:
        """The statistics that were written as JSON."""
        return Statistics(
            {name: (median, scale) for name, (median, scale) in value["numerical"].items()},
            {name: tuple(words) for name, words in value["categories"].items()},
            {name: Words(tuple(known["words"]), known["separator"]) for name, known in value["lists"].items()},
            {name: Centre(tuple(centre["mean"]), centre["scale"]) for name, centre in value["vectors"].items()},
            tuple(value["texts"]),
            value["text_channels"],
            tuple(value["times"]),
            {source: tuple(names) for source, names in value["late"].items()},
            tuple(value["identities"]),
        )


def _counted(words: tuple[str, ...]) -> tuple[list[str], list[int]]:
    """A vocabulary with its states, as torch-frame has it. It reads no counts, so each is one."""
    return [*STATES, *words], [1] * (len(STATES) + len(words))
