"""Leaks planted into real databases: each is found with its figures, and the line that is given mends it."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
import tomlkit

import rdl
from rdl.audit import Audit, Severity

ROOT = Path(__file__).resolve().parents[2]
LIKED = (ROOT / "tasks" / "ml_100k" / "rating-liked.pql").read_text()

#: By name: the database, the SQL that plants it, the question, what is found, of which kind, how grave.
LEAKS: dict[str, tuple[str, list[str], str, str, str, Severity]] = {
    "the label in another column and unit": (
        "f1",
        ["ALTER TABLE results ADD COLUMN reward REAL", "UPDATE results SET reward = 1000 + 250.5 * points"],
        "PREDICT results.points FOR EACH results.resultId SPLIT AT '2005-01-01', '2010-01-01'",
        "results.reward", "tells", Severity.severe,
    ),
    "written later than its row": (
        "ml_100k",
        ["ALTER TABLE ratings ADD COLUMN moderated_on TIMESTAMP",
         "UPDATE ratings SET moderated_on = datetime(rated_at, '+' || (1 + (user_id * 7 + movie_id) % 20) || ' days')"],
        LIKED, "ratings.moderated_on", "later", Severity.severe,
    ),
    "the number of all likes, in a film that has no time": (
        "ml_100k",
        ["ALTER TABLE movies ADD COLUMN likes INTEGER",
         "UPDATE movies SET likes = (SELECT count(*) FROM ratings r WHERE r.movie_id = movies.movie_id"
         " AND rating >= 4)"],
        LIKED, "movies.likes", "aggregate", Severity.severe,
    ),
    "a key that is written with the label": (
        "ml_100k",
        ["CREATE TABLE moods (mood_id INTEGER PRIMARY KEY)", "INSERT INTO moods SELECT DISTINCT user_id % 8 FROM users",
         "ALTER TABLE ratings ADD COLUMN mood_id INTEGER REFERENCES moods (mood_id)",
         "UPDATE ratings SET mood_id = (movie_id + user_id) % 4 + CASE WHEN rating >= 4 THEN 4 ELSE 0 END"],
        LIKED, "ratings.mood_id", "tells", Severity.suspect,
    ),
    "dated back": (
        "ml_100k",
        ["CREATE TABLE visits (id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users (user_id), began_at TIMESTAMP,"
         " logged_at TIMESTAMP)",
         "INSERT INTO visits (user_id, began_at, logged_at) SELECT user_id, rated_at, rated_at FROM ratings"
         " WHERE movie_id % 9 = 0 ORDER BY rated_at",
         "UPDATE visits SET began_at = datetime(began_at, '-20 days') WHERE id % 17 = 0"],
        LIKED, "visits", "backdated", Severity.suspect,
    ),
}  # fmt: skip


#: What the tables that were added say of themselves.
ADDED = '[tables.visits]\ntime = "began_at"\ncolumns.logged_at = { known_at = false }'


def audited(path: Path, query: str, fix: str = "") -> Audit:
    """The audit of a question on a copy of a database, with ``fix`` in its schema file."""
    text = (ROOT / "schemas" / f"{path.stem}.toml").read_text()
    with sqlite3.connect(path) as connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'visits'").fetchone():
            text += ADDED
    said = tomlkit.parse(text)
    for table, entry in tomlkit.parse(fix).get("tables", {}).items():
        for key, value in entry.items():
            here = said["tables"].setdefault(table, tomlkit.table())  # type: ignore[union-attr]
            here[key] = {**here.get(key, {}), **value} if key == "columns" else value
    file = path.with_suffix(".toml")
    file.write_text(tomlkit.dumps(said))
    return rdl.connect(f"sqlite:///{path}", schema=file).task(query).audit()


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_in_a_real_database_is_found_and_mended(leak: str, shared_data: Path, tmp_path: Path) -> None:
    name, sql, query, what, kind, severity = LEAKS[leak]
    path = tmp_path / f"{name}.sqlite"
    shutil.copyfile(shared_data / f"{name}.sqlite", path)
    with sqlite3.connect(path) as connection:
        for statement in sql:
            connection.execute(statement)
    found = [one for one in audited(path, query).findings if (one.what, one.kind.name) == (what, kind)]
    assert [one.severity for one in found] == [severity]
    assert any(letter.isdigit() for letter in found[0].evidence)
    fix = found[0].fix
    assert fix is not None
    again = audited(path, f"{query} {fix}") if fix.where == "query" else audited(path, query, str(fix))
    assert (what, kind) not in {(one.what, one.kind.name) for one in again.findings}
