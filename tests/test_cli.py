"""The command line as a user meets it: output, files, exit codes, and errors in a line or two."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from rdl.checkpoint import read_state
from rdl.cli import main
from rdl.shop import build_shop

CHURN = "PREDICT COUNT(orders.*, 0, 30, days) = 0 FOR EACH users.id WHERE COUNT(orders.*, -90, 0, days) > 0"


@dataclass(frozen=True)
class Done:
    """What a command printed."""

    stdout: str
    stderr: str


def rdl(*words: str | Path, cwd: Path | None = None, code: int = 0) -> Done:
    """Runs ``rdl`` in this process, as its script would; stdout and stderr apart."""
    out, error = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(error):
        patch.setattr(sys, "argv", ["rdl", *map(str, words)])
        if cwd is not None:
            patch.chdir(cwd)
        try:
            main()
            status: object = 0
        except SystemExit as end:
            status = end.code or 0
    assert status == code, f"{status}\n{out.getvalue()}\n{error.getvalue()}"
    return Done(out.getvalue(), error.getvalue())


def refused(*words: str | Path, cwd: Path | None = None) -> str:
    """The error of a command that a user's mistake ends: exit code 2, one to five short lines, no traceback."""
    done = rdl(*words, cwd=cwd, code=2)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert 1 <= len(done.stderr.strip().splitlines()) <= 5, done.stderr
    return done.stderr


def parsed(*words: str | Path) -> Any:
    return json.loads(rdl(*words, "--json").stdout)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shop") / "shop.duckdb"
    build_shop(path, scale=0.1)
    return path


@pytest.fixture(scope="module")
def run(shop: Path) -> Path:
    """A trained run; its training is checked here once."""
    out = shop.parent / "churn"
    found = parsed("train", CHURN, "--db", f"duckdb:///{shop}", "--out", out, "--time-budget", "0.2")
    assert found["kind"] == "binary"
    assert set(found["baselines"]) == {"global", "past label", "LightGBM"}
    assert 0 < found["metrics"]["test"]["auroc"] < 1, "what so short a training comes to depends on the machine"
    assert found["peak_rss_mb"] > 0
    assert set(found["seconds"]) >= {"snapshot", "labels", "training", "baselines", "total"}
    return out


def test_inspect_tells_declared_from_inferred(shop: Path, tmp_path: Path) -> None:
    page = tmp_path / "tables.html"
    found = parsed("inspect", f"duckdb:///{shop}", "--html", page)
    assert len(found["tables"]) == 8
    assert found["tables"]["orders"]["time"] == "created_at"
    assert found["tables"]["users"]["columns"]["country"]["stype"] == "categorical"
    assert {r["parent"] for r in found["relations"] if r["child"] == "messages"} == {"users"}
    assert all(relation["declared"] for relation in found["relations"])
    assert "<svg" in page.read_text()
    assert "orders" in rdl("inspect", f"duckdb:///{shop}").stdout


def test_a_proposed_schema_is_read_back(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "shop.toml"
    rdl("schema", f"duckdb:///{shop}", "--out", out)
    assert "delivered_at" in out.read_text()
    assert parsed("inspect", f"duckdb:///{shop}", "--schema", out)["tables"]["orders"]["time"] == "created_at"
    out.write_text('[tables.ordres]\ntime = "created_at"\n')
    assert "orders" in refused("inspect", f"duckdb:///{shop}", "--schema", out)


def test_a_query_may_be_longer_than_the_name_of_a_file(shop: Path) -> None:
    hidden = ", ".join(["users.age", "users.vip", "users.bio", "users.country", "items.price", "items.title"] * 5)
    assert parsed("plan", f"{CHURN} HIDE {hidden}", "--db", f"duckdb:///{shop}")["kind"] == "binary"


def test_plan_and_labels_agree(shop: Path, tmp_path: Path) -> None:
    plan = parsed("plan", CHURN, "--db", f"duckdb:///{shop}")
    assert {"kind", "entity", "sql", "anchors", "rows", "balance", "dropped", "censored", "hidden", "warnings"} <= set(
        plan
    )
    rdl("labels", CHURN, "--db", f"duckdb:///{shop}", "--out", tmp_path / "labels")
    for split, count in plan["rows"].items():
        frame = pd.read_parquet(tmp_path / "labels" / f"{split}.parquet")
        assert len(frame) == count
        assert frame.columns.tolist() == ["id", "time", "label"]
        assert frame["label"].mean() == pytest.approx(plan["balance"][split])


def test_a_plan_is_shown_and_drawn(shop: Path, tmp_path: Path) -> None:
    page = tmp_path / "plan.html"
    shown = rdl("plan", CHURN, "--db", f"duckdb:///{shop}", "--html", page).stdout
    assert shown.startswith("binary for each users: ")
    assert "(t − 90 days, t]" in shown
    assert page.read_text().count("<svg") == 2


def test_parameters_are_json_or_text(shop: Path) -> None:
    url = f"duckdb:///{shop}"
    query = "PREDICT SUM(orders.amount, 0, :n) > :least FOR EACH users.id WHERE users.country IN :from EVERY :n days"
    given = ["--param", "n=30", "--param", "least=2.5", "--param", 'from=["US", "DE"]']
    plain = "PREDICT SUM(orders.amount, 0, 30) > 2.5 FOR EACH users.id WHERE users.country IN ('US','DE') EVERY 30 days"
    assert parsed("plan", query, "--db", url, *given)["rows"] == parsed("plan", plain, "--db", url)["rows"]
    texts = "PREDICT COUNT(orders.*, 0, 7) FOR EACH users.id WHERE users.country = :country AS OF :now"
    assert parsed("plan", texts, "--db", url, "--param", "country=US", "--param", "now=2024-01-31")["rows"]["train"] > 0
    assert ":least has no value" in refused("plan", query, "--db", url, *given[:2])
    assert "NAME=VALUE" in refused("plan", query, "--db", url, "--param", "days")
    assert "given twice" in refused("plan", query, "--db", url, *given[:2], *given[:2])


def test_a_query_may_be_longer_than_any_path(shop: Path) -> None:
    numbers = ", ".join(map(str, range(18, 3_000)))
    query = f"PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id WHERE users.age IN ({numbers})"
    assert parsed("plan", query, "--db", f"duckdb:///{shop}")["rows"]["train"] > 0


def test_an_export_is_read_again_with_the_same_labels(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "shop"
    found = parsed("export", f"churn={CHURN}", "--db", f"duckdb:///{shop}", "--out", out)
    assert found["tables"]["orders"] > 0
    assert found["tasks"]["churn"] == parsed("plan", CHURN, "--db", f"duckdb:///{shop}")["rows"]
    assert parsed("plan", "churn", "--db", f"relbench:{out}")["rows"] == found["tasks"]["churn"]
    assert "exists" in refused("export", f"churn={CHURN}", "--db", f"duckdb:///{shop}", "--out", out)
    given = ("--db", f"duckdb:///{shop}", "--out", tmp_path / "other", "--param", "days=3")
    assert "no task has a parameter" in refused("export", f"churn={CHURN}", *given)
    assert "--param" in refused("export", "PREDICT :x FOR EACH users", "--db", f"duckdb:///{shop}", "--out", out)


def test_the_language_is_told_by_topic() -> None:
    whole, part = rdl("language").stdout, rdl("language", "windows").stdout
    assert part.startswith("## Windows")
    assert part in whole
    assert "did you mean 'median'" in refused("language", "medan")


def test_a_run_folder_holds_all_it_should_and_no_more(run: Path) -> None:
    assert {path.name for path in run.iterdir()} == {
        "run.json", "metrics.json", "model.safetensors", "statistics.json", "summary.json", "history.csv",
        "report.html",
    }  # fmt: skip
    assert [path.name for path in run.parent.iterdir() if path.name.startswith(".")] == []
    report = (run / "report.html").read_text()
    assert "LightGBM" in report
    assert "http-equiv" not in report
    assert 'src="http' not in report


def test_evaluate_gives_the_figures_of_training(run: Path) -> None:
    saved = json.loads((run / "metrics.json").read_text())["metrics"]
    for split in ("val", "test"):
        assert parsed("evaluate", run, "--split", split)["metrics"] == pytest.approx(saved[split], abs=1e-9)


def test_predictions_go_back_into_the_database(run: Path, shop: Path, tmp_path: Path) -> None:
    written = parsed("predict", run, "--to", "churn_scores")["rows"]
    with duckdb.connect(str(shop), read_only=True) as connection:
        frame = connection.sql("SELECT s.*, u.id AS known FROM churn_scores s LEFT JOIN users u USING (id)").df()
    assert len(frame) == written > 0
    assert frame["known"].notna().all()
    assert frame["score"].between(0, 1).all()
    assert "churn_scores" not in parsed("inspect", f"duckdb:///{shop}")["tables"], "no input of a later question"
    assert "churn_scores" in refused("predict", run, "--to", "churn_scores")
    rdl("predict", run, "--to", "churn_scores", "--if-exists", "replace")
    assert "users" in refused("predict", run, "--to", "users", "--if-exists", "replace")
    rdl("predict", run, "--at", "2024-05-01", "--entities", "1,2,3", "--to", tmp_path / "three.csv")
    some = pd.read_csv(tmp_path / "three.csv")
    assert set(some["id"]) <= {1, 2, 3}
    assert (some["time"].str.startswith("2024-05-01")).all()


def test_classes_and_intervals_go_the_whole_way(shop: Path, tmp_path: Path) -> None:
    url, short = f"duckdb:///{shop}", ("--time-budget", "0.01")
    country = "PREDICT users.country FOR EACH users.id"
    found = parsed("train", country, "--db", url, "--out", tmp_path / "c", "--class-weights", "balanced", *short)
    assert set(found["metrics"]["test"]) == {"accuracy", "macro_f1", "log_loss", "mrr"}
    assert parsed("evaluate", tmp_path / "c")["metrics"] == pytest.approx(found["metrics"]["test"], abs=1e-9)
    assert "--class-weights balanced" in (tmp_path / "c" / "report.html").read_text()
    parsed("predict", tmp_path / "c", "--split", "test", "--to", "countries")
    age = "PREDICT users.age FOR EACH users.id"
    parsed("train", age, "--db", url, "--out", tmp_path / "a", "--quantiles", "0.1,0.9", *short)
    parsed("predict", tmp_path / "a", "--split", "test", "--to", "ages")
    assert "--quantiles 0.1,0.5,0.9" in (tmp_path / "a" / "report.html").read_text()
    with duckdb.connect(str(shop), read_only=True) as connection:
        said = connection.sql(
            "SELECT count(*), min(probability) FROM countries WHERE prediction IN (SELECT country FROM users)"
        )
        many, least = said.fetchall()[0]
        ordered = connection.sql("SELECT min(prediction - q10), min(q90 - prediction), count(*) FROM ages").fetchall()[
            0
        ]
    assert [many, ordered[2]] == [parsed("plan", query, "--db", url)["rows"]["test"] for query in (country, age)]
    assert least > 0
    assert min(ordered[:2]) >= 0
    found = parsed("baselines", age, "--db", url, "--quantiles", "0.1,0.9")
    assert 0 <= found["baselines"]["LightGBM"]["test"]["coverage_80"] <= 1


def test_predictions_of_a_split_give_its_figures(run: Path, tmp_path: Path) -> None:
    from sklearn.metrics import roc_auc_score

    rdl("predict", run, "--split", "test", "--to", tmp_path / "test.parquet")
    rdl("labels", CHURN, "--db", json.loads((run / "run.json").read_text())["url"], "--out", tmp_path / "labels")
    predicted, labels = (
        pd.read_parquet(tmp_path / "test.parquet"),
        pd.read_parquet(tmp_path / "labels" / "test.parquet"),
    )
    assert predicted[["id", "time"]].equals(labels[["id", "time"]])
    auroc = parsed("evaluate", run)["metrics"]["auroc"]
    assert roc_auc_score(labels["label"], predicted["score"]) == pytest.approx(auroc, abs=1e-9)


def test_baselines_alone_are_those_of_training(run: Path, shop: Path) -> None:
    found = parsed("baselines", CHURN, "--db", f"duckdb:///{shop}")
    saved = json.loads((run / "metrics.json").read_text())
    assert found["baselines"]["LightGBM"]["test"] == pytest.approx(saved["baselines"]["LightGBM"]["test"], abs=1e-6)
    assert found["regime"] == saved["regime"] == "seed-time"


def test_figures_say_their_regime(run: Path, shop: Path) -> None:
    assert "regime seed-time" in rdl("evaluate", run).stdout
    told = rdl("baselines", CHURN, "--db", f"duckdb:///{shop}", "--regime", "frozen")
    assert "frozen" in told.stdout + told.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["inspect", "sqlite:///nothing.sqlite"], "nothing.sqlite"),
        (["inspect", "sqlit:///x"], "sqlite"),
        (["inspect", "postgresql://ann:s3cret@localhost/shop"], "postgres"),
        (["evaluate", "no-such-run"], "not a run folder"),
        (["predict", "no-such-run"], "not a run folder"),
    ],
)
def test_what_is_not_there_is_said(words: Sequence[str], said: str, tmp_path: Path) -> None:
    error = refused(*words, cwd=tmp_path)
    assert said in error
    assert "s3cret" not in error
    assert list(tmp_path.iterdir()) == [], "a mistyped path makes no file"


def test_mistakes_in_a_task_are_placed(shop: Path, run: Path, tmp_path: Path) -> None:
    url = f"duckdb:///{shop}"
    assert "amount" in refused("plan", "PREDICT SUM(orders.amont, 0, 7) FOR EACH users.id", "--db", url)
    assert "users" in refused("plan", "PREDICT COUNT(orders.*, 0, 7) FOR EACH user.id", "--db", url)
    nothing = "PREDICT COUNT(orders.* WHERE orders.amount < 0, 0, 7) > 0 FOR EACH users.id"
    assert "positive" in refused("train", nothing, "--db", url, "--out", tmp_path / "run")
    assert "exists" in refused("train", CHURN, "--db", url, "--out", run)
    assert "regime" in refused("train", CHURN, "--db", url, "--out", tmp_path / "run", "--regime", "future")
    assert "recent or uniform" in refused("train", CHURN, "--db", url, "--out", tmp_path / "run", "--sampling", "all")
    assert "hashing" in refused("train", CHURN, "--db", url, "--out", tmp_path / "run", "--text-embedder", "magic")
    assert "no model" in refused("train", CHURN, "--db", url, "--out", tmp_path / "run", "--model", "gpt")
    for setting, said in (
        (("--quantiles", "0.1,0.9"), "this is a binary task"), (("--quantiles", "0.1,x"), "no list of numbers"),
        (("--quantiles", "0.1"), "stands alone"), (("--loss", "l3"), "l1 or l2 or huber"),
        (("--class-weights", "some"), "none or balanced"),
    ):  # fmt: skip
        assert said in refused("train", CHURN, "--db", url, "--out", tmp_path / "run", *setting)
    assert "this is a binary task" in refused("baselines", CHURN, "--db", url, "--loss", "l2")
    ranking = "PREDICT LIST_DISTINCT(orders.item_id, 0, 7) RANK TOP 5 FOR EACH users.id"
    assert "recommendation" in refused("train", ranking, "--db", url, "--out", tmp_path / "run")
    assert "parquet" in refused("predict", run, "--to", tmp_path / "missing" / "x.parquet")
    assert "not a time" in refused("predict", run, "--at", "tomorrow")
    assert "no device" in refused("train", CHURN, "--db", url, "--out", tmp_path / "run", "--device", "foo")
    assert "/proc" in refused("train", CHURN, "--db", url, "--out", "/proc/nowhere/run")
    assert "plain name" in refused("predict", run, "--to", "scores.txt")
    assert "cannot be read" in refused("plan", "missing.pql", "--db", url)
    assert not (tmp_path / "run").exists()


def test_a_mistake_is_told_to_programs_too(shop: Path) -> None:
    query = "PREDICT SUM(orders.amont, 0, 7) FOR EACH users.id"
    done = rdl("plan", query, "--db", f"duckdb:///{shop}", "--json", code=2)
    told = json.loads(done.stdout)
    assert (told["error"], told["kind"], told["line"], told["column"]) == ("QueryError", "unknown-column", 1, 13)
    assert told["snippet"] == "orders.amont"
    assert told["corrected"] == query.replace("amont", "amount")
    assert "did you mean" in done.stderr
    assert (
        json.loads(rdl("plan", query, "--db", "sqlite:///nowhere", "--json", code=2).stdout)["error"] == "DatabaseError"
    )


def test_databases_with_nothing_to_learn_from(tmp_path: Path) -> None:
    empty, plain = tmp_path / "empty.sqlite", tmp_path / "plain.sqlite"
    sqlite3.connect(empty).close()
    empty.touch()
    assert "table" in refused("inspect", f"sqlite:///{empty}")
    with sqlite3.connect(plain) as connection:
        connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, age INTEGER)")
        connection.execute("CREATE TABLE notes (body TEXT)")
        connection.execute("INSERT INTO users VALUES (1, 30)")
    connection.close()
    warnings = " ".join(parsed("inspect", f"sqlite:///{plain}")["warnings"])
    assert "time" in warnings
    assert "refer" in warnings or "relation" in warnings or "foreign key" in warnings
    assert "no time" in refused("plan", "PREDICT COUNT(notes.*, 0, 7) FOR EACH users.id", "--db", f"sqlite:///{plain}")


def test_an_interrupted_run_leaves_no_folder_and_resumes(shop: Path, tmp_path: Path, interruptible: None) -> None:
    out = tmp_path / "run"
    words = ["train", CHURN, "--db", f"duckdb:///{shop}", "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "rdl.cli", *words], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    partial = tmp_path / ".run.partial" / "state.safetensors"
    deadline = time.monotonic() + 120
    while not partial.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in error
    assert "Traceback" not in error
    assert not out.exists()
    kept = read_state(partial.parent)
    assert kept is not None
    done = kept[1]["step"]
    found = parsed(*words, "--resume", "--time-budget", "0.01")
    assert found["metrics"]["test"]
    assert out.exists()
    assert not partial.exists()
    first = pd.read_csv(out / "history.csv")["step"].iloc[0]
    assert first <= done
