"""The words of the sample shop: names, titles, bios, reviews and messages, put together from lists.

Texts say something about what stands behind them, never all of it: a bio names two pastimes drawn by the user's tastes,
a review's words follow its stars and whether the parcel was late, a message is chat, praise, a complaint or a farewell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Departments and their categories: (category, one of its items, the pastime that goes with it).
CATEGORIES: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    ("garden", (("seeds", "seed box", "growing vegetables"), ("garden tools", "spade", "gardening"),
                ("plants", "fern", "house plants"), ("barbecues", "grill", "grilling"))),
    ("home", (("lamps", "lamp", "interior design"), ("kitchenware", "pan", "cooking"),
              ("furniture", "shelf", "doing up the house"), ("bedding", "quilt", "long Sunday mornings"))),
    ("books", (("novels", "novel", "reading novels"), ("cookbooks", "cookbook", "baking"),
               ("travel guides", "travel guide", "travelling"), ("comics", "comic", "drawing"))),
    ("beauty", (("skincare", "lotion", "yoga"), ("perfume", "perfume", "fine scents"),
                ("make-up", "lipstick", "theatre"), ("hair care", "shampoo", "dancing"))),
    ("clothing", (("shoes", "pair of boots", "city walks"), ("jackets", "jacket", "sewing"),
                  ("dresses", "dress", "vintage fashion"), ("hats", "hat", "festivals"))),
    ("play", (("toys", "wooden train", "my two kids"), ("board games", "board game", "chess"),
              ("puzzles", "puzzle", "crosswords"), ("model kits", "model kit", "model trains"))),
    ("sports", (("cycling", "bike light", "cycling"), ("running", "running vest", "marathons"),
                ("camping", "tent", "camping"), ("climbing", "rope", "climbing"))),
    ("electronics", (("phones", "phone case", "new gadgets"), ("laptops", "laptop stand", "programming"),
                     ("headphones", "headset", "listening to records"), ("cameras", "camera", "photography"))),
)  # fmt: skip

_THINGS = tuple(thing for _, leaves in CATEGORIES for _, thing, _ in leaves)
_PASTIMES = tuple(pastime for _, leaves in CATEGORIES for _, _, pastime in leaves)
_DEPARTMENTS = tuple(department for department, _ in CATEGORIES)

_PLACES = ("Northern", "Harbour", "Summit", "Linden", "Copper", "River", "Blue Hill", "Atlas", "Orchard", "Meridian",
           "Granite", "Falcon", "Amber", "Willow", "Polar", "Sunrise")  # fmt: skip
_TRADES = ("Logistics", "Foods", "Software", "Textiles", "Insurance", "Motors", "Energy", "Health", "Media", "Steel",
           "Consulting", "Paper", "Optics", "Travel")  # fmt: skip
_FORMS = ("Ltd", "Inc", "AG", "Group", "& Sons", "Co")
_MAKERS = ("Norrby", "Halden", "Kestrel", "Ito", "Marlow", "Tamber", "Ostra", "Wexley", "Luma", "Brannt")
#: Adjectives of titles, from cheap to dear.
_GRADES = (("basic", "handy", "simple", "budget"), ("classic", "everyday", "compact", "sturdy"),
           ("deluxe", "handmade", "premium", "signature"))  # fmt: skip

# A sentence is three pieces around two words.
Sentences = tuple[tuple[str, str, str], ...]
_BIOS: Sentences = (
    ("I like ", " and ", "."), ("I spend my weekends on ", " and sometimes ", "."),
    ("Mostly ", ", a little ", "."), ("", ", ", " and too much coffee."),
)  # fmt: skip
_REVIEWS: tuple[Sentences, ...] = (
    (("Love this ", ", best of all my ", "."), ("Great ", ", a real find among ", "."),
     ("Exactly the ", " I wanted; their ", " never fail me.")),
    (("The ", " is fine, nothing special for ", "."), ("An ordinary ", ". I have seen better ", "."),
     ("Does its job, the ", ". As ", " go, all right.")),
    (("The ", " broke within a week. No more ", " from here."),
     ("Poor ", ", nothing like the picture. Avoid their ", "."), ("This ", " feels cheap. Disappointed by the ", ".")),
    (("The ", " came far too late, like all my ", "."), ("Waited weeks for this ", ". Slow with ", "."),
     ("My ", " arrived long after the day. Never again ", " from here.")),
)  # fmt: skip
_MESSAGES: tuple[Sentences, ...] = (
    (("Lunch on Friday? I can tell you about ", " and ", "."),
     ("Did you see the match? Otherwise ", " and ", " as ever."),
     ("Call me when you are home, we must talk of ", " and ", ".")),
    (("So happy with what I got from ", ", and their ", " is good too!"),
     ("You should look at ", " now, and at ", ", lovely things."),
     ("Great stuff again from ", " and ", ", go and see.")),
    (("Never order from ", " there. I would not trust ", " either."),
     ("Awful, what they sent me from ", "; ", " was late."),
     ("Still waiting for my parcel from ", ". And ", " was broken.")),
    (("I closed my account. ", " was the last straw, after ", "."), ("I am done with that shop, ", " and ", " alike."),
     ("Not buying there any more, neither ", " nor ", ".")),
)  # fmt: skip


def company_names(rng: np.random.Generator, count: int) -> pa.Array:
    """``count`` names of companies; some may be alike."""
    lists = (_PLACES, _TRADES, _FORMS)
    return _join(*(_drawn(words, rng.integers(0, len(words), count)) for words in lists), between=" ")


def titles(rng: np.random.Generator, leaf: Ints, costliness: Floats) -> pa.Array:
    """Titles of items of the categories ``leaf``: maker, an adjective that goes with the price, the thing."""
    count = len(leaf)
    grade = np.digitize(costliness + rng.normal(0, 0.25, count), [-0.25, 0.25])
    words = tuple(word for words in _GRADES for word in words)
    adjective = _drawn(words, grade * len(_GRADES[0]) + rng.integers(0, len(_GRADES[0]), count))
    return _join(_drawn(_MAKERS, rng.integers(0, len(_MAKERS), count)), adjective, _drawn(_THINGS, leaf), between=" ")


def bios(rng: np.random.Generator, taste: Floats) -> pa.Array:
    """A sentence a user with two pastimes, likely ones of the categories with most ``taste`` ``[users, leaves]``."""
    liked = np.argsort(-(taste + rng.gumbel(0, 0.7, taste.shape)), axis=1)
    return _sentences(rng, (_BIOS,), np.zeros(len(taste), np.int64), _PASTIMES, liked[:, 0], _PASTIMES, liked[:, 1])


def review_bodies(rng: np.random.Generator, stars: Ints, pain: Floats, leaf: Ints) -> pa.Array:
    """Bodies of reviews: praise for 4 stars and more, a shrug for 3; below, lateness (``pain`` of it) or the item."""
    tone = np.where(stars >= 4, 0, np.where(stars == 3, 1, np.where(pain > 0.4, 3, 2)))
    return _sentences(rng, _REVIEWS, tone, _THINGS, leaf, _DEPARTMENTS, leaf // len(CATEGORIES[0][1]))


def message_bodies(rng: np.random.Generator, topic: Ints, department: Ints) -> pa.Array:
    """Bodies of messages on a ``topic`` (0 chat, 1 praise, 2 complaint, 3 farewell) about a ``department``."""
    other = rng.integers(0, len(_DEPARTMENTS), len(topic))
    return _sentences(rng, _MESSAGES, topic, _DEPARTMENTS, department, _DEPARTMENTS, other)


def _sentences(
    rng: np.random.Generator, tones: tuple[Sentences, ...], tone: Ints,
    words: Sequence[str], word: Ints, more: Sequence[str], other: Ints,
) -> pa.Array:  # fmt: skip
    """A sentence a row, of the row's tone, around ``words[word]`` and ``more[other]``; every tone has as many."""
    each = len(tones[0])
    choice = tone * each + rng.integers(0, each, len(tone))
    before, middle, after = zip(*(sentence for sentences in tones for sentence in sentences), strict=True)
    return _join(
        _drawn(before, choice), _drawn(words, word), _drawn(middle, choice), _drawn(more, other), _drawn(after, choice)
    )


def _drawn(words: Sequence[str], index: Ints) -> pa.Array:
    return pa.array(words, pa.string()).take(pa.array(index))


def _join(*parts: pa.Array, between: str = "") -> pa.Array:
    return pc.binary_join_element_wise(*parts, between)
