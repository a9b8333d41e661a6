"""Arrow columns → NumPy arrays, whatever their storage type: numbers, words, lists of words, vectors, times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rdl.clock import NEVER, NO_BEGINNING, NO_END, NO_END_FROM, US_PER_DAY, Times
from rdl.errors import SchemaError
from rdl.schema import Stype

#: Codes of categorical cells: NULL, as in torch-frame; a value that was unseen (or rare) at the training cut; one that
#: is not known yet. The words of a vocabulary come next.
NULL, UNSEEN, MASKED = -1, 0, 1
STATES = ("\x00unseen", "\x00masked")

#: Standardised numbers end here: 2.4e8 scales from the median. Infinities stand there too.
MOST_SCALES = 20.0

_TICKS_US = {"s": 10**6, "ms": 10**3, "us": 1}
_IS = pa.types


def is_listed(kind: pa.DataType) -> bool:
    """Whether cells of this type are lists."""
    return bool(_IS.is_list(kind) or _IS.is_large_list(kind) or _IS.is_fixed_size_list(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether cells of this type are texts."""
    return bool(_IS.is_string(kind) or _IS.is_large_string(kind))


def is_countable(kind: pa.DataType) -> bool:
    """Whether cells of this type are numbers, or lengths of time or times of day, which are numbers of seconds."""
    real = _IS.is_integer(kind) or _IS.is_floating(kind) or _IS.is_decimal(kind)
    return bool(real or _IS.is_boolean(kind) or _IS.is_duration(kind) or _IS.is_time(kind))


def _innermost(kind: pa.DataType) -> pa.DataType:
    return _innermost(kind.value_type) if is_listed(kind) else kind


def require(values: pa.ChunkedArray, stype: Stype, column: str) -> pa.ChunkedArray:
    """``values``, whose storage can be read as ``stype``. Raises SchemaError, naming ``column``, where it cannot."""
    kind, within = values.type, _innermost(values.type)
    fits = {
        Stype.numerical: is_countable(kind) or is_text(kind),
        Stype.categorical: not _IS.is_nested(kind),
        Stype.multicategorical: is_text(kind) or (is_listed(kind) and not _IS.is_nested(within)),
        Stype.text_embedded: is_text(kind),
        Stype.embedding: is_listed(kind) and is_countable(within),
        Stype.timestamp: _IS.is_timestamp(kind) or _IS.is_date(kind),
    }
    if not fits.get(stype, False):
        raise SchemaError(
            f"{column} is read as {kind}, which cannot be {stype}",
            hint="correct its stype in the schema file; a run is bound to what its columns were: train it anew.",
        )
    return values


def as_numbers(values: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """``values`` as float64 that may be written to, NaN for NULL and for text that is no number; seconds of durations
    and times of day."""
    if is_text(values.type):
        trimmed = pc.utf8_trim_whitespace(values)
        is_number = pc.match_substring_regex(trimmed, r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
        values = pc.if_else(is_number, trimmed, pa.scalar(None, values.type))
    factor = 1.0
    if _IS.is_duration(values.type) or _IS.is_time(values.type):
        factor = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[values.type.unit]
        values = values.cast(pa.int32() if _IS.is_time32(values.type) else pa.int64())
    if _IS.is_boolean(values.type):
        values = values.cast(pa.int8())
    numbers = np.array(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)
    return numbers if factor == 1.0 else numbers * factor


def standardise(
    numbers: npt.NDArray[Any], median: float | npt.NDArray[np.float64], scale: float
) -> npt.NDArray[np.float32]:
    """asinh((x − median) / scale) within ±``MOST_SCALES``: linear near the median, logarithmic in the tails. NaN stays
    NaN, and infinities stand at the ends."""
    with np.errstate(over="ignore"):
        return np.asarray(np.arcsinh((numbers - median) / scale).clip(-MOST_SCALES, MOST_SCALES), np.float32)


@dataclass(frozen=True, slots=True)
class Coded:
    """A column as places in its distinct values: ``places`` int32 ``[N]``, ``NULL`` where there is none, in ``words``,
    an Arrow array of strings."""

    places: npt.NDArray[np.int32]
    words: pa.Array

    def counts(self) -> npt.NDArray[np.int64]:
        """How often each of the words occurs."""
        return np.bincount(self.places[self.places != NULL], minlength=len(self.words))

    def codes(self, vocabulary: tuple[str, ...]) -> npt.NDArray[np.int16]:
        """The column as codes: ``NULL``, ``UNSEEN``, or the place in ``vocabulary`` after the ``STATES``."""
        known = pc.index_in(self.words, pa.array(vocabulary, self.words.type))
        known = pc.fill_null(pc.add(known, len(STATES)), UNSEEN).to_numpy(zero_copy_only=False)
        return np.append(known, NULL).astype(np.int16)[self.places]


def as_words(values: pa.ChunkedArray) -> Coded:
    """A column of single values as its distinct values, written as text. NaN is NULL."""
    if _IS.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if _IS.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    if _IS.is_duration(values.type):
        values = values.cast(pa.int64())
    if is_text(values.type):
        values = values.cast(pa.large_string())  # two gigabytes of letters are more than a string's offsets can tell
    encoded = pc.dictionary_encode(values).combine_chunks()
    words = encoded.dictionary
    if _IS.is_binary(words.type) or _IS.is_large_binary(words.type) or _IS.is_fixed_size_binary(words.type):
        words = pa.array([word.hex() for word in words.to_pylist()], pa.large_string())
    places = np.asarray(encoded.indices.fill_null(NULL).to_numpy(zero_copy_only=False), np.int32)
    return Coded(places, words.cast(pa.large_string()))


@dataclass(frozen=True, slots=True)
class Lists:
    """A column of lists: the elements of all rows end to end, ``lengths`` int64 ``[N]``, and which rows are NULL."""

    elements: pa.ChunkedArray
    lengths: npt.NDArray[np.int64]
    missing: npt.NDArray[np.bool_]


def as_lists(values: pa.ChunkedArray, separator: str = "") -> Lists:
    """A column of lists, lists of lists as one list; or of text in which ``separator`` stands between the elements,
    with spaces, quotes and brackets around them dropped. Elements that are NULL or empty are none."""
    missing = values.is_null().to_numpy()
    if separator:
        values = pc.split_pattern(values, separator)
    row = np.arange(len(values))
    elements, owners, begun = [], [row[:0]], 0
    for chunk in values.chunks:
        inside, owner = chunk, row[begun : begun + len(chunk)]
        while is_listed(inside.type):
            owner = owner[pc.list_parent_indices(inside).to_numpy(zero_copy_only=False)]
            inside = pc.list_flatten(inside)
        elements.append(inside)
        owners.append(owner)
        begun += len(chunk)
    flat = pa.chunked_array(elements, _innermost(values.type))
    owner = np.concatenate(owners)
    if is_text(flat.type):
        flat = pc.utf8_trim(flat, " \t\r\n'\"[]{}")
        is_there = pc.fill_null(pc.not_equal(flat, ""), False)
    else:
        is_there = flat.is_valid()
    lengths = np.bincount(owner[is_there.to_numpy()], minlength=len(values))
    return Lists(flat.filter(is_there), lengths, missing)


def as_vectors(values: pa.ChunkedArray, channels: int) -> npt.NDArray[np.float32]:
    """A column of lists of numbers as float32 ``[N, channels]``, NaN throughout in rows that are NULL, of another
    length, or hold what is no finite number."""
    vectors = np.full((len(values), channels), np.nan, np.float32)
    begun = 0
    for chunk in values.chunks:
        lengths = pc.fill_null(pc.list_value_length(chunk), 0).to_numpy(zero_copy_only=False)
        fits = lengths == channels
        numbers = as_numbers(pa.chunked_array([pc.list_flatten(chunk)])).astype(np.float32)
        vectors[begun : begun + len(chunk)][fits] = numbers[np.repeat(fits, lengths)].reshape(-1, channels)
        begun += len(chunk)
    vectors[~np.isfinite(vectors).all(axis=1)] = np.nan
    return vectors


def as_times(values: pa.ChunkedArray) -> Times:
    """µs UTC, ``clock.NEVER`` for NULL. What lies beyond the years 1 to 9999 and is not in µs is at their ends."""
    kind = values.type
    if _IS.is_date32(kind):
        ticks, tick_us = values.cast(pa.int32()).cast(pa.int64()), US_PER_DAY
    else:
        unit = "ms" if _IS.is_date64(kind) else kind.unit
        ticks, tick_us = values.cast(pa.int64()), _TICKS_US.get(unit, 0)
    found = ticks.to_numpy(zero_copy_only=False) if not ticks.null_count else ticks.fill_null(0).to_numpy()
    if tick_us != 1:
        inside = found.clip(NO_BEGINNING // tick_us, NO_END // tick_us) * tick_us if tick_us else found // 1000
        found = inside
    if ticks.null_count:
        found = np.where(ticks.is_null().to_numpy(), NEVER, found)
    return np.asarray(found, np.int64)


def as_moments(values: pa.ChunkedArray) -> Times:
    """As :func:`as_times`; an end that never comes and a beginning that ever was are no times either."""
    times = as_times(values)
    return np.where((times >= NO_END_FROM) | (times <= NO_BEGINNING), NEVER, times)
