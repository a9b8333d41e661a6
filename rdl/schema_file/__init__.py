"""``schemas/<db>.toml``: what reflection cannot know about a database, to be read, edited and merged by hand.

    infer = false                                # infer nothing beyond this file, whatever data come (default: true)
    [tables.races]
    time = "date"                                # when a row became known; false: timeless
    [tables.results]
    time = "raceId.date"                         # through the foreign key raceId; a composite key is "a+b.date"
    primary_key = ["resultId"]
    valid_until = "closed_at"                    # after this time a row is over; false: never
    columns.grid = { stype = "numerical", known_at = "started_at" }
    columns.total_points = { stype = "unsupported" }   # no input: it tells the future
    columns.created = { time_format = "s" }      # a number since 1970: "s", "ms", "us", "ns"; ISO text: "iso"
    [[relations]]
    child = "orders"
    key = ["user_id"]
    parent = "users"
    referred = ["id"]                            # default: the parent's primary key; ignore = true: leave it out

Where a name holds a dot or a plus, a time is a list: ``time = ["race.id", "date"]``, ``time = [["a", "b"], "date"]``.
"""

from rdl.schema_file.reading import infers, merge, read, read_formats
from rdl.schema_file.writing import write

__all__ = ["infers", "merge", "read", "read_formats", "write"]
