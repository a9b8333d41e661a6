"""The errors of predictive queries by kind: what each means, a query that raises it, and what it says then.

Every kind that :mod:`rdl.query` and :mod:`rdl.labels` give a QueryError stands here. Examples are asked of the sample
shop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rdl.errors import QueryError


@dataclass(frozen=True, slots=True)
class Mistake:
    """A kind of error, and an example of it.

    In ``example`` « and » stand around what the error underlines; an error without a place has none, and ``…`` in its
    message for what depends on the rows. ``corrected`` is the query that would work, where the error says one.
    ``parameters`` are the values of the example's ``:name``.
    """

    kind: str
    means: str
    example: str
    message: str
    hint: str | None = None
    corrected: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)

    @property
    def query(self) -> str:
        """The example as a user writes it."""
        return self.example.replace("«", "").replace("»", "")

    @property
    def text(self) -> str:
        """What the error says, the query with its mark included where it names a place."""
        before, marked, rest = self.example.partition("«")
        line = before.count("\n") + 1
        error = QueryError(
            self.message, kind=self.kind, line=line, column=len(before) - before.rfind("\n"),
            snippet=rest.partition("»")[0], text=self.query if marked else "", hint=self.hint,
            corrected=self.corrected,
        )  # fmt: skip
        return str(error)


#: By what they are about.
MISTAKES: dict[str, tuple[Mistake, ...]] = {
    "Reading": (
        Mistake(
            "not-a-query", "The text does not begin with PREDICT.", "«SELECT» COUNT(*) FROM orders",
            "this is not a predictive query: it does not begin with PREDICT",
            "write PREDICT <target> FOR EACH <table>.<primary key>.",
        ),
        Mistake(
            "syntax", "Something stands where nothing of its sort can stand, or a bracket or quote is never closed.",
            "PREDICT COUNT(orders.*, 0, 30, days «FOR» EACH users.id", "expected ) after the window, found 'FOR'",
            corrected="PREDICT COUNT(orders.*, 0, 30, days) FOR EACH users.id",
        ),
        Mistake(
            "expected-target", "Nothing is predicted.", "PREDICT «FOR» EACH users.id",
            "expected a target, found 'FOR'",
        ),
        Mistake(
            "expected-value", "A value is missing.", "PREDICT COUNT(orders.*, 0, 30) > «FOR» EACH users.id",
            "expected a value after >, found 'FOR'",
        ),
        Mistake(
            "expected-for-each", "It is not said of which rows it is asked.", "PREDICT COUNT(orders.*, 0, 30, days)«»",
            "expected FOR EACH, found the end of the query", "add FOR EACH <table>.<primary key>.",
        ),
        Mistake(
            "repeated-clause", "A clause stands twice.",
            "PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id WHERE users.vip «WHERE» users.age > 30",
            "a second WHERE", "give each clause once.",
            corrected="PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id WHERE users.vip AND users.age > 30",
        ),
        Mistake(
            "unknown-aggregate", "There is no aggregate or function of that name.",
            "PREDICT «AVERAGE»(orders.amount, 0, 30) FOR EACH users.id", "unknown aggregate AVERAGE",
            "did you mean AVG?",
            corrected="PREDICT AVG(orders.amount, 0, 30) FOR EACH users.id",
        ),
        Mistake(
            "arguments", "A function has too few or too many arguments.",
            "PREDICT «NULLIF»(SUM(orders.amount, 0, 30)) FOR EACH users.id", "NULLIF takes 2 arguments, not 1",
        ),
        Mistake(
            "in-without-list", "No list follows IN.",
            "PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id WHERE users.country IN «'US'»",
            "IN needs a list, found \"'US'\"", "write IN ('a', 'b') or IN (1, 2).",
            corrected="PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id WHERE users.country IN ('US')",
        ),
        Mistake(
            "list", "A parameter that is a list stands where one value belongs.",
            "PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id WHERE users.country = «:countries»",
            "a list stands only after IN", "write … IN (…).", parameters={"countries": ["US", "GB"]},
        ),
        Mistake(
            "unknown-parameter",
            "A parameter has no value, or one that is no text, number, truth value, date, or list of them.",
            "PREDICT SUM(orders.amount, 0, «:days») FOR EACH users.id", "the parameter :days has no value",
            "give it: --param days=…",
        ),
        Mistake(
            "not-a-value", "The rows to predict for are not told by values.",
            "PREDICT SUM(orders.amount, 0, 30) FOR users.id = «users.age»", "the entities asked about are values",
            "write IN (1, 2, 3).",
        ),
        Mistake(
            "bad-count", "A count after RANK TOP, FORECAST or EVERY is below 1, or larger than anybody means.",
            "PREDICT LIST_DISTINCT(orders.item_id, 0, 30) RANK TOP «0» FOR EACH users.id",
            "k of RANK TOP k must be at least 1",
        ),
        Mistake(
            "top-without-rank", "TOP stands without RANK.",
            "PREDICT LIST_DISTINCT(orders.item_id, 0, 30) «TOP» 10 FOR EACH users.id", "TOP needs RANK before it",
            "write RANK TOP 10.",
            corrected="PREDICT LIST_DISTINCT(orders.item_id, 0, 30) RANK TOP 10 FOR EACH users.id",
        ),
        Mistake(
            "split-order", "The second time of SPLIT AT is not after the first.",
            "PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id SPLIT AT «'2024-04-01'», '2024-01-01'",
            "validation does not begin before test", "give the earlier time of SPLIT AT first.",
            corrected="PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id SPLIT AT '2024-01-01', '2024-04-01'",
        ),
    ),
    "Names and paths": (
        Mistake(
            "unknown-table", "There is no such table; or a column stands without its table.",
            "PREDICT SUM(orders.amount, 0, 30) FOR EACH «user.id»", "there is no table 'user'",
            "did you mean 'users'?",
            corrected="PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id",
        ),
        Mistake(
            "unknown-column", "The table has no such column.", "PREDICT SUM(«orders.price», 0, 30) FOR EACH users.id",
            "table orders has no column 'price'", "items has it: write orders.item_id.price.",
            corrected="PREDICT SUM(orders.item_id.price, 0, 30) FOR EACH users.id",
        ),
        Mistake(
            "table-as-value", "A table stands where a value belongs.", "PREDICT «orders» FOR EACH orders.id",
            "orders is a table, not a value", "name a column, such as orders.id, or aggregate it.",
        ),
        Mistake(
            "not-a-column", "HIDE or SPLIT BY names something else than a column.",
            "PREDICT users.vip FOR EACH users.id HIDE «companies»", "companies is not a column", "write table.column.",
        ),
        Mistake(
            "not-a-primary-key", "What follows the table of FOR EACH is not its primary key.",
            "PREDICT SUM(orders.amount, 0, 30) FOR EACH «users.country»", "users.country is not a primary key",
            "use users.id.",
            corrected="PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id",
        ),
        Mistake(
            "not-a-key", "What follows VIA, or stands within a dotted name, is no foreign key.",
            "PREDICT COUNT(messages.*, 0, 30) FOR EACH users.id VIA «messages.body»",
            "messages.body is not a foreign key", "there is sender_id, receiver_id.",
        ),
        Mistake(
            "tied-paths", "Several paths of foreign keys are equally short.",
            "PREDICT COUNT(«messages.*», 0, 30) FOR EACH users.id",
            "two paths lead from messages to users: VIA messages.sender_id or VIA messages.receiver_id",
            "add the one you mean: VIA messages.sender_id takes messages.sender_id → users.id.",
            corrected="PREDICT COUNT(messages.*, 0, 30) FOR EACH users.id VIA messages.sender_id",
        ),
        Mistake(
            "no-path", "No path of foreign keys leads there.", "PREDICT COUNT(«items.*», 0, 30) FOR EACH users.id",
            "no path: items are not children of users",
            "what happens to users stands in impressions, messages, orders, reviews.",
        ),
        Mistake(
            "many-values", "Many rows belong to the one asked about, and no aggregate makes one value of them.",
            "PREDICT «orders.amount» FOR EACH users.id",
            "orders.amount has many values for each row of users: aggregate it",
            "write LAST(orders.amount, …), or FOR EACH orders.",
            corrected="PREDICT LAST(orders.amount, 0, 30, days) FOR EACH users.id",
        ),
        Mistake(
            "no-table", "An aggregate names no column, and so no table to aggregate.",
            "PREDICT «SUM»(1, 0, 30) FOR EACH users.id", "SUM needs a column", "write SUM(orders.amount, …).",
        ),
        Mistake(
            "star", "`*` stands elsewhere than in COUNT or EXISTS.",
            "PREDICT SUM(«orders.*», 0, 30) FOR EACH users.id", "* belongs to COUNT and EXISTS alone",
            "name a column: SUM(orders.…).",
        ),
    ),
    "Windows and times": (
        Mistake(
            "no-window", "An aggregate has no window.", "PREDICT «COUNT»(orders.*) FOR EACH users.id",
            "an aggregate over time needs a window: COUNT has none", "write COUNT(…, 0, 30, days).",
            corrected="PREDICT COUNT(orders.*, 0, 30, days) FOR EACH users.id",
        ),
        Mistake(
            "empty-window", "A window does not start before its end.",
            "PREDICT COUNT(orders.*, «30», 0) FOR EACH users.id", "the window start 30 is not before its end 0",
            "write 0, 30.",
            corrected="PREDICT COUNT(orders.*, 0, 30) FOR EACH users.id",
        ),
        Mistake(
            "endless-window", "A window ends at infinity.", "PREDICT COUNT(orders.*, 0, «INF») FOR EACH users.id",
            "a window cannot end at infinity", "-INF can only be its start.",
        ),
        Mistake(
            "unknown-unit", "There is no such unit of time.",
            "PREDICT COUNT(orders.*, 0, 2, «fortnights») FOR EACH users.id", "unknown unit fortnights",
            "there is seconds, minutes, hours, days, weeks, months, quarters, years.",
        ),
        Mistake(
            "no-time", "Rows of a table without a time are aggregated over a window.",
            "PREDICT COUNT(«categories.*», 0, 30) FOR EACH categories.id",
            "categories has no time column, so no window can be laid over it",
            "declare its time in the schema file, or read it through a key.",
        ),
        Mistake(
            "looks-back", "No window of the target ends after t: there is nothing to predict.",
            "PREDICT «COUNT»(orders.*, -30, 0) FOR EACH users.id", "the target looks back only: nothing to predict",
            "let a window end after 0: COUNT(…, 0, 30, days).",
            corrected="PREDICT COUNT(orders.*, 0, 30) FOR EACH users.id",
        ),
        Mistake(
            "mixed-units", "Two windows end at nearly the same time, one by days and one by months.",
            "PREDICT «COUNT»(orders.*, 0, 30, days) > COUNT(reviews.*, 0, 1, month) FOR EACH users.id",
            "one window ends 30 days after t, one 1 month: which is later depends on the month",
            "measure both in days, or both in months.",
        ),
        Mistake(
            "looks-ahead", "WHERE reads what nobody knows at t.",
            "PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id WHERE «COUNT»(orders.*, 0, 30) > 0",
            "the filter looks ahead: at time t nobody knows it yet",
            "end its window at or before 0: COUNT(…, -30, 0, days).",
            corrected="PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id WHERE COUNT(orders.*, -30, 0) > 0",
        ),
        Mistake(
            "assuming-ahead", "The target has no window, and ASSUMING looks ahead.",
            "PREDICT users.vip FOR EACH users.id «ASSUMING» COUNT(orders.*, 0, 30) > 0",
            "ASSUMING looks ahead, but the target is known with its own row", "use WHERE for a row-level target.",
        ),
        Mistake(
            "nested",
            "An aggregate stands inside another and not in its filter; or there, but the target has no window.",
            "PREDICT SUM(«COUNT»(orders.*, 0, 7), 0, 30) FOR EACH users.id", "COUNT inside SUM",
            "filter by it instead.",
        ),
        Mistake(
            "not-a-time", "No time stands where one belongs.",
            "PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id AS OF «'tomorrow'»", "'tomorrow' is not a time",
            "write it as 2024-01-31 or 2024-01-31T12:00:00.",
        ),
        Mistake(
            "anchors", "No anchor times can be laid: there are too many, or they leave the calendar.",
            "PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id EVERY 1 second",
            "the anchors cannot be laid: one every 1 second is more than 100,000 in all",
            "take fewer of them: EVERY 1 day.",
        ),
        Mistake(
            "split-by", "SPLIT BY names no column of the entity, or the target has a window.",
            "PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id SPLIT BY «users.country»",
            "SPLIT BY reads a column of the entity, in a task without windows",
            "use SPLIT AT for a target over a window.",
        ),
    ),
    "Types": (
        Mistake(
            "not-a-condition", "A condition is needed and something else found.",
            "PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id WHERE «users.age»",
            "WHERE needs a condition, this is a number", "compare it with something: > 0.",
            corrected="PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id WHERE users.age > 0",
        ),
        Mistake(
            "not-a-number", "A number, or a whole one, is needed and something else found.",
            "PREDICT SUM(«orders.status», 0, 30) FOR EACH users.id", "SUM needs a number, orders.status is text",
            "COUNT or COUNT_DISTINCT counts any column.",
        ),
        Mistake(
            "not-text", "Text is needed and something else found.",
            "PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id WHERE «users.age» LIKE '3%'",
            "LIKE needs text, users.age is a number", "write text in 'single quotes'.",
        ),
        Mistake(
            "not-time", "A function of times is given something else.",
            "PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id WHERE YEAR(«users.age») > 1990",
            "YEAR needs a time, users.age is a number",
        ),
        Mistake(
            "null", "Something is compared with NULL, which gives NULL whatever it is.",
            "PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id WHERE users.company_id = «NULL»",
            "nothing equals NULL, and nothing differs from it", "write users.company_id IS NULL.",
            corrected="PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id WHERE users.company_id IS NULL",
        ),
        Mistake(
            "types-differ",
            "Values of two types are compared, or are results of one CASE, COALESCE, GREATEST or LEAST.",
            "PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id WHERE users.country = «5»",
            "text compared with a number: users.country is text, 5 is not", "write '5' for text.",
            corrected="PREDICT SUM(orders.amount, 0, 30) FOR EACH users.id WHERE users.country = '5'",
        ),
    ),
    "Targets": (
        Mistake(
            "constant", "The target reads nothing of the database.", "PREDICT 1 «>» 0 FOR EACH users.id",
            "the target reads no column: nothing to predict", "name a column.",
        ),
        Mistake(
            "own-key", "The target is a primary key, of which every row has its own.",
            "PREDICT «users.id» FOR EACH users.id", "nothing to predict: the entity's own key", "name another column.",
        ),
        Mistake(
            "key-target", "The target is a foreign key that is not ranked.",
            "PREDICT «LAST»(orders.item_id, 0, 30) FOR EACH users.id",
            "a foreign key is not a number: list the keys and rank them",
            "write LIST_DISTINCT(…) RANK TOP 10, or count them: COUNT_DISTINCT(…).",
            corrected="PREDICT LIST_DISTINCT(orders.item_id, 0, 30) RANK TOP 10 FOR EACH users.id",
        ),
        Mistake(
            "time-target", "The target is a time.", "PREDICT «MIN»(orders.created_at, 0, 30) FOR EACH users.id",
            "a time is not a target", "predict whether something happens: COUNT(…) > 0.",
        ),
        Mistake(
            "free-text", "The target is a text of many words.", "PREDICT «users.bio» FOR EACH users.id",
            "free text is not a target", "compare it with a value, or count rows.",
        ),
        Mistake(
            "unknown-type", "It cannot be told of what type the target is.",
            "PREDICT «CASE» WHEN users.age > 30 THEN NULL END FOR EACH users.id", "the target's type is unknown",
            "compare it with a value.",
        ),
        Mistake(
            "list-without-rank", "A list is neither ranked nor classified.",
            "PREDICT «LIST_DISTINCT»(orders.item_id, 0, 30) FOR EACH users.id",
            "a list can be ranked or classified: say RANK TOP k or CLASSIFY",
            "add RANK TOP 10 for the likeliest, CLASSIFY for a probability a value.",
            corrected="PREDICT LIST_DISTINCT(orders.item_id, 0, 30) RANK TOP 10 FOR EACH users.id",
        ),
        Mistake(
            "rank-without-list", "What is ranked is neither LIST_DISTINCT nor the row's own foreign key.",
            "PREDICT COUNT(orders.*, 0, 30) «RANK» TOP 5 FOR EACH users.id",
            "RANK needs LIST_DISTINCT of a foreign key",
            "leave out RANK TOP 5, or predict LIST_DISTINCT(…) of a column of keys.",
            corrected="PREDICT COUNT(orders.*, 0, 30) FOR EACH users.id",
        ),
        Mistake(
            "forecast", "What is forecast is no number over a window, or its timeframes cannot be measured alike.",
            "PREDICT COUNT(orders.*, 0, 7) > 0 «FORECAST» 4 TIMEFRAMES FOR EACH users.id",
            "FORECAST needs a number over a window", "leave out the comparison, or FORECAST.",
            corrected="PREDICT COUNT(orders.*, 0, 7) > 0 FOR EACH users.id",
        ),
    ),
    "Labels": (
        Mistake(
            "no-rows", "There is no training row: the data do not cover a window, or nobody is eligible.",
            "PREDICT SUM(orders.amount, 0, 3, years) FOR EACH users.id",
            "no window is covered: orders hold data from … to …, windows reach 3 years",
            "use a shorter window, or SPLIT AT.",
        ),
        Mistake(
            "no-positives", "What is asked about never happens in training.",
            "PREDICT SUM(orders.amount, 0, 30) > 100000 FOR EACH users.id", "no positive at all among … training rows",
            "widen the window, or ask for something that happens.",
        ),
        Mistake(
            "one-class", "All training rows have the same label.",
            "PREDICT SUM(orders.amount, 0, 30) >= 0 FOR EACH users.id",
            "one class only: all … training rows are positive",
        ),
        Mistake(
            "labels", "The labels cannot be computed.",
            "PREDICT SUM(orders.qty * 999999999999999999 * 100, 0, 30) FOR EACH users.id",
            "the labels cannot be computed: …",
        ),
        Mistake(
            "manifest",
            "A task in plain SQL is not a RelBench task manifest, does not fit the database, or its SQL fails.",
            "name: user-churn\nkind: forecast\ntask_type: churn", "…/manifest.yaml: task_type is 'churn'",
            "use one of binary_classification, regression, multiclass_classification, multilabel_classification, "
            "recommendation.",
        ),
        Mistake(
            "not-yet", "Tasks of this kind are planned and labelled, but no model is trained for them.",
            "PREDICT LIST_DISTINCT(orders.item_id, 0, 7) RANK TOP 12 FOR EACH users.id",
            "recommendation tasks are labelled and planned, but not trained yet",
            "all others are: ask whether there will be any, how many, or list what few values there are and CLASSIFY.",
        ),
    ),
}  # fmt: skip
