"""Messages: nearest names, underlined places, and never a password."""

from __future__ import annotations

import pytest

from rdl.errors import DatabaseError, QueryError, did_you_mean, nearest, redact


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:s3cret@db:5432/shop", "postgresql://ann:***@db:5432/shop"),
        ("no server at mysql+pymysql://a:p@ss:w/rd@host/db here", "no server at mysql+pymysql://a:***@host/db here"),
        ("postgresql://db/shop", "postgresql://db/shop"),
        ("sqlite:////tmp/a.db", "sqlite:////tmp/a.db"),
    ],
)
def test_passwords_are_never_shown(url: str, shown: str) -> None:
    assert redact(url) == shown
    assert "s3cret" not in str(DatabaseError(url, hint=url))


def test_the_nearest_name_is_found_in_any_case() -> None:
    assert nearest("Users", ["users", "orders"]) == "users"
    assert nearest("zzz", ["users"]) is None
    assert did_you_mean("zzz", [f"t{n}" for n in range(10)]).endswith("and 2 more.")
    assert did_you_mean("zzz", []) == "there is none."


def test_a_query_error_underlines_its_place() -> None:
    error = QueryError(
        "unknown column 'amont'", line=1, column=13, snippet="amont", text="PREDICT SUM(amont)", hint="x"
    )
    assert str(error).splitlines()[1:] == ["  PREDICT SUM(amont)", "              ^^^^^", "Hint: x"]
