"""The sample shop: whole, the same for the same seed, causal, and worth learning from across its tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from rdl.errors import ConfigError, DatabaseError
from rdl.query import Kind, read_task
from rdl.shop import QUESTIONS, build, build_shop, shop_tables
from rdl.shop.behaviour import simulate
from rdl.shop.world import DAY_S, DAYS, END, START
from tests.query.shop import SHOP

TIMES = {"users": "joined_at", "items": "listed_at", "orders": "created_at", "reviews": "created_at",
         "impressions": "shown_at", "messages": "sent_at"}  # fmt: skip
ANCHORS = tuple(range(150, DAYS - 30, 30))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    path = tmp_path_factory.mktemp("shop") / "shop.duckdb"
    build_shop(path, seed=0, scale=0.2)
    assert [file.name for file in path.parent.iterdir()] == ["shop.duckdb"]
    with duckdb.connect(str(path), read_only=True) as connection:
        yield connection


def one(shop: duckdb.DuckDBPyConnection, sql: str) -> object:
    row = shop.execute(sql).fetchone()
    assert row is not None
    return row[0]


def test_columns_and_keys_are_those_of_the_schema(shop: duckdb.DuckDBPyConnection) -> None:
    columns: dict[str, list[str]] = {}
    for table, column in shop.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal ORDER BY column_index"
    ).fetchall():
        columns.setdefault(table, []).append(column)
    assert columns == {name: [column.name for column in table.columns] for name, table in SHOP.tables.items()}
    declared = shop.execute(
        "SELECT table_name, constraint_column_names, referenced_table, referenced_column_names "
        "FROM duckdb_constraints() WHERE constraint_type = 'FOREIGN KEY'"
    ).fetchall()
    found = {(child, tuple(key), parent, tuple(referred)) for child, key, parent, referred in declared}
    assert found == {(r.child, r.key, r.parent, r.referred) for r in SHOP.relations}
    assert one(shop, "SELECT count(*) FROM duckdb_constraints() WHERE constraint_type = 'PRIMARY KEY'") == len(
        SHOP.tables
    )


def test_sizes_follow_the_scale(shop: duckdb.DuckDBPyConnection) -> None:
    sizes = {name: one(shop, f'SELECT count(*) FROM "{name}"') for name in SHOP.tables}
    assert (sizes["companies"], sizes["users"], sizes["categories"], sizes["items"]) == (40, 900, 40, 400)
    wanted = {"orders": 9_000, "reviews": 3_000, "impressions": 22_000, "messages": 5_000}
    assert all(0.6 < float(str(sizes[name])) / count < 1.6 for name, count in wanted.items()), sizes


@pytest.mark.parametrize("table", list(SHOP.tables))
def test_ids_count_from_one_and_rise_with_time(shop: duckdb.DuckDBPyConnection, table: str) -> None:
    assert one(shop, f'SELECT min(id) = 1 AND max(id) = count(*) AND bool_and(id = rowid + 1) FROM "{table}"')
    if table in TIMES:
        time = TIMES[table]
        assert one(shop, f'SELECT bool_and(t) FROM (SELECT {time} >= lag({time}) OVER (ORDER BY id) t FROM "{table}")')
        first, last = shop.execute(f'SELECT min({time}), max({time}) FROM "{table}"').fetchall()[0]
        assert first >= dt.datetime.combine(START, dt.time())
        assert last < dt.datetime.combine(END, dt.time())
        assert (last - first).days > DAYS - 60


@pytest.mark.parametrize(
    "broken",
    [
        "SELECT 1 FROM orders o JOIN users u ON u.id = user_id JOIN items i ON i.id = item_id "
        "WHERE o.created_at <= greatest(joined_at, listed_at)",
        "SELECT 1 FROM impressions o JOIN users u ON u.id = user_id JOIN items i ON i.id = item_id "
        "WHERE shown_at <= greatest(joined_at, listed_at)",
        "SELECT 1 FROM orders WHERE delivered_at <= created_at OR (delivered_at IS NULL) <> (status = 'open')",
        "SELECT 1 FROM reviews r JOIN orders o ON o.id = order_id WHERE r.created_at > o.delivered_at IS NOT TRUE",
        "SELECT 1 FROM messages m JOIN users s ON s.id = sender_id JOIN users r ON r.id = receiver_id "
        "WHERE sent_at < greatest(s.joined_at, r.joined_at) OR sender_id = receiver_id",
        "SELECT 1 FROM items i JOIN categories c ON c.id = category_id WHERE c.parent_id IS NULL",
        "SELECT 1 FROM orders WHERE qty < 1 OR amount <= 0",
        "SELECT 1 FROM reviews WHERE stars NOT BETWEEN 1 AND 5",
    ],
)  # fmt: skip
def test_nothing_happens_before_its_cause(shop: duckdb.DuckDBPyConnection, broken: str) -> None:
    assert one(shop, f"SELECT count(*) FROM ({broken})") == 0


def test_who_says_farewell_orders_no_more(shop: duckdb.DuckDBPyConnection) -> None:
    shop.execute(
        "CREATE OR REPLACE TEMP VIEW farewell AS SELECT sender_id, min(date_trunc('day', sent_at)) AS left_on "
        "FROM messages WHERE regexp_matches(body, '^(I closed|I am done|Not buying)') GROUP BY sender_id"
    )
    assert int(str(one(shop, "SELECT count(*) FROM farewell"))) > 50
    after = "SELECT count(*) FROM orders o JOIN farewell ON user_id = sender_id WHERE created_at >= left_on"
    assert one(shop, after) == 0


def test_nulls_stand_where_they_may(shop: duckdb.DuckDBPyConnection) -> None:
    found = {
        f"{table.name}.{column.name}"
        for table in SHOP.tables.values()
        for column in table.columns
        if one(shop, f'SELECT count(*) - count("{column.name}") FROM "{table.name}"')
    }
    assert found == {
        "companies.size", "users.company_id", "users.country", "users.age", "users.bio", "categories.parent_id",
        "items.price", "orders.delivered_at", "reviews.body",
    }  # fmt: skip


def test_the_same_seed_gives_the_same_rows() -> None:
    first, again, other = (shop_tables(seed=seed, scale=0.03) for seed in (3, 3, 4))
    assert all(first[name].equals(again[name]) for name in first)
    changed = {name for name in first if not first[name].equals(other[name])}
    assert changed == set(first) - {"categories"}


def test_an_existing_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "shop.duckdb"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        build_shop(path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"scale": 0.0}, {"scale": float("nan")}, {"scale": 1e6}])
def test_numbers_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        build_shop(tmp_path / "shop.duckdb", **wrong)  # type: ignore[arg-type]


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no folder"):
        build_shop(tmp_path / "nowhere" / "shop.duckdb")


def test_a_failure_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pa.table({"id": [1, 1], "name": ["a", "b"], "size": [1, 2]})  # the same key twice
    monkeypatch.setattr(build, "shop_tables", lambda **_: {"companies": rows})
    with pytest.raises(DatabaseError, match="cannot be written"):
        build_shop(tmp_path / "shop.duckdb")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("title", "query"), QUESTIONS)
def test_questions_can_be_asked(title: str, query: str) -> None:
    assert title.partition(": ")[0].isalpha()
    assert title.endswith("?")
    assert read_task(query, SHOP).kind in (Kind.binary, Kind.regression)


# What follows guards the structure: of two users with the same history of orders, who will order again?

SEEDS_SQL = """
WITH anchor AS (SELECT day, TIMESTAMP '{start}' + to_days(day) AS t FROM (SELECT unnest($anchors)::INTEGER AS day)),
past AS (SELECT day, t, o.*, row_number() OVER (PARTITION BY day, user_id ORDER BY created_at DESC) AS k
         FROM anchor JOIN orders o ON created_at <= t),
own AS (SELECT day, t, user_id, epoch(t - max(created_at)) / 86400 AS recency, count(*) AS n,
               count(*) FILTER (created_at > t - INTERVAL 30 DAY) AS n30,
               count(*) FILTER (created_at > t - INTERVAL 90 DAY) AS n90
        FROM past GROUP BY day, t, user_id HAVING max(created_at) > t - INTERVAL 90 DAY),
future AS (SELECT day, user_id, count(*) AS n FROM anchor JOIN orders ON created_at > t
           AND created_at <= t + INTERVAL 30 DAY GROUP BY ALL),
late AS (SELECT day, user_id, avg(epoch(delivered_at - created_at) / 86400) AS wait FROM past
         WHERE delivered_at <= t AND k <= 3 GROUP BY ALL),
rated AS (SELECT day, past.user_id, avg(r.stars) AS stars FROM past JOIN orders o USING (item_id)
          JOIN reviews r ON r.order_id = o.id AND r.created_at <= t
          WHERE k <= 3 AND o.user_id <> past.user_id GROUP BY ALL),
said AS (SELECT day, receiver_id AS user_id,
                sum(CASE WHEN regexp_matches(body, '^(So happy|You should look|Great stuff)') THEN 1
                         WHEN regexp_matches(body, '^(Lunch|Did you|Call me)') THEN 0 ELSE -1 END) AS mood
         FROM anchor JOIN messages ON sent_at <= t AND sent_at > t - INTERVAL 60 DAY GROUP BY ALL),
mates AS (SELECT own.day, u.id AS user_id, avg(own.n30) AS mates FROM own JOIN users c ON c.id = own.user_id
          JOIN users u ON u.company_id = c.company_id AND u.id <> c.id GROUP BY ALL),
shown AS (SELECT day, user_id, count(DISTINCT shown_at) AS visits FROM anchor
          JOIN impressions ON shown_at <= t AND shown_at > t - INTERVAL 30 DAY GROUP BY ALL)
SELECT own.*, coalesce(future.n, 0) = 0 AS churned, wait, stars, coalesce(mood, 0) AS mood, mates,
       coalesce(visits, 0) AS visits
FROM own LEFT JOIN future USING (day, user_id) LEFT JOIN late USING (day, user_id) LEFT JOIN rated USING (day, user_id)
LEFT JOIN said USING (day, user_id) LEFT JOIN mates USING (day, user_id) LEFT JOIN shown USING (day, user_id)
ORDER BY day, user_id
"""


@pytest.fixture(scope="module")
def seeds(shop: duckdb.DuckDBPyConnection) -> dict[str, npt.NDArray[np.float64]]:
    columns = shop.execute(SEEDS_SQL.format(start=START), {"anchors": list(ANCHORS)}).fetchnumpy()
    numbers = [name for name in columns if name != "t"]
    return {name: np.ma.filled(columns[name].astype(float), np.nan) for name in numbers}


def surprise(seeds: dict[str, npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """What is left of churn once recency and frequency of the user's own orders have said what they can."""
    rows = [np.ones(len(seeds["n"])), np.log1p(seeds["recency"]), seeds["recency"]]
    rows += [function(seeds[name]) for name in ("n", "n30", "n90") for function in (np.log1p, np.sqrt)]
    inputs = np.stack(rows, axis=1)
    return np.asarray(seeds["churned"] - inputs @ np.linalg.lstsq(inputs, seeds["churned"])[0])


def auroc(label: npt.NDArray[np.float64], score: npt.NDArray[np.float64]) -> float:
    """The chance that a positive scores above a negative; ties count half."""
    values, rank = np.unique(score, return_inverse=True)
    positive, negative = (np.bincount(rank[label == side], minlength=len(values)) for side in (1, 0))
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / positive.sum() / negative.sum())


def test_churn_is_neither_rare_nor_certain(seeds: dict[str, npt.NDArray[np.float64]]) -> None:
    assert 0.3 < seeds["churned"].mean() < 0.6
    assert 0.62 < auroc(seeds["churned"], seeds["recency"]) < 0.78


@pytest.mark.parametrize(
    ("column", "sign"),
    [("wait", 1), ("stars", -1), ("mood", -1), ("mates", -1), ("visits", -1)],
)
def test_other_tables_tell_what_own_orders_do_not(
    seeds: dict[str, npt.NDArray[np.float64]], column: str, sign: int
) -> None:
    known = ~np.isnan(seeds[column])
    left, column_values = surprise(seeds)[known], seeds[column][known]
    correlation = float(np.corrcoef(left, column_values)[0, 1])
    assert known.sum() > 1_500
    assert sign * correlation > 0.04, f"{column}: {correlation:.3f}"


def test_the_hidden_state_knows_more_than_recency(seeds: dict[str, npt.NDArray[np.float64]]) -> None:
    trace = simulate(0, 0.2, trace_days=ANCHORS).rate_trace
    rate = trace[np.searchsorted(ANCHORS, seeds["day"]), seeds["user_id"].astype(int) - 1]
    assert auroc(seeds["churned"], -rate) > auroc(seeds["churned"], seeds["recency"]) + 0.08


def test_clicks_follow_position_and_earlier_clicks_in_the_category(shop: duckdb.DuckDBPyConnection) -> None:
    columns = shop.execute(
        "SELECT clicked::INT AS clicked, position, avg(clicked::INT) OVER (PARTITION BY user_id, category_id "
        "ORDER BY shown_at RANGE BETWEEN UNBOUNDED PRECEDING AND INTERVAL 1 SECOND PRECEDING) AS earlier "
        "FROM impressions i JOIN items ON items.id = item_id"
    ).fetchnumpy()
    clicked, position = columns["clicked"].astype(float), -columns["position"].astype(float)
    earlier = np.ma.filled(columns["earlier"].astype(float), np.nan)
    known = ~np.isnan(earlier)
    assert 0.1 < clicked.mean() < 0.4
    assert auroc(clicked, position) > 0.54
    assert auroc(clicked[known], earlier[known]) > 0.57


def test_a_trace_changes_nothing() -> None:
    plain, traced = simulate(5, 0.02), simulate(5, 0.02, trace_days=(10, 400))
    assert traced.rate_trace.shape == (2, len(plain.users.age))
    assert plain.rate_trace.shape == (0, len(plain.users.age))
    assert all(np.array_equal(plain.orders[name], traced.orders[name]) for name in plain.orders)
    assert plain.orders["created_s"].max() < DAYS * DAY_S
