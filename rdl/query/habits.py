"""What people write who come from elsewhere, and what is written here."""

from __future__ import annotations

#: Aggregates and functions under other names.
SYNONYMS = {
    "AVERAGE": "AVG", "MEAN": "AVG", "TOTAL": "SUM", "CNT": "COUNT", "NUMBER": "COUNT", "STD": "STDDEV",
    "STDEV": "STDDEV", "STDDEV_SAMP": "STDDEV", "MAXIMUM": "MAX", "MINIMUM": "MIN", "ANY": "EXISTS", "HAS": "EXISTS",
    "DISTINCT_COUNT": "COUNT_DISTINCT", "NUNIQUE": "COUNT_DISTINCT", "DISTINCT_LIST": "LIST_DISTINCT",
    "LIST": "LIST_DISTINCT", "SET": "LIST_DISTINCT", "UNIQUE": "LIST_DISTINCT", "ARRAY_AGG": "LIST_DISTINCT",
    "FIRST_VALUE": "FIRST", "LAST_VALUE": "LAST", "IFNULL": "COALESCE", "NVL": "COALESCE", "ISNULL": "COALESCE",
    "CEILING": "CEIL", "POW": "POWER", "LOG": "LN", "LEN": "LENGTH", "LCASE": "LOWER", "UCASE": "UPPER",
}  # fmt: skip

#: Units of time, as they are cut short.
SHORT_UNITS = {
    "s": "seconds", "sec": "seconds", "secs": "seconds", "min": "minutes", "mins": "minutes", "h": "hours",
    "hr": "hours", "hrs": "hours", "d": "days", "w": "weeks", "wk": "weeks", "mo": "months", "mon": "months",
    "q": "quarters", "y": "years", "yr": "years", "yrs": "years",
}  # fmt: skip

_TODAY = "t is the time that is asked about: lay a window before it, such as -30, 0, days, or write a date."
_PARTS = "YEAR, MONTH, DAY and HOUR read a part of a time; a window is so many days, weeks or months."
_SORTED = "a query says what is predicted; RANK TOP k after the target ranks."

#: Words that are not of this language where they were found, and what says the same here.
FOREIGN = {
    "SELECT": "there is no query inside another: aggregate, as in COUNT(orders.*, -30, 0, days) > 0.",
    "FROM": "tables are named with their columns: orders.amount.",
    "JOIN": "foreign keys are followed without it: orders.item_id.price, or items.price.",
    "ON": "foreign keys are followed without it; VIA picks one.",
    "GROUP": "FOR EACH says of which rows it is asked.",
    "HAVING": "write WHERE, with an aggregate that looks back: COUNT(orders.*, -30, 0, days) > 0.",
    "ORDER": _SORTED,
    "LIMIT": _SORTED,
    "AS": "a target has no name; AS OF, after FOR EACH, says when to predict.",
    "USING": "all tables are read as they are; HIDE leaves a column out.",
    "ILIKE": "LIKE minds the case: write LOWER(…) LIKE 'us%'.",
    "OVER": "a window stands inside the brackets: SUM(orders.amount, 0, 30, days).",
    "WITHIN": "a window stands inside the brackets: SUM(orders.amount, 0, 30, days).",
    "INTERVAL": "a window is two numbers and a unit: 0, 7, days.",
    "NOW": _TODAY, "CURRENT_DATE": _TODAY, "CURRENT_TIMESTAMP": _TODAY, "GETDATE": _TODAY, "TODAY": _TODAY,
    "DATE_TRUNC": _PARTS, "DATEDIFF": _PARTS, "DATE_DIFF": _PARTS, "DATE_ADD": _PARTS, "DATE_SUB": _PARTS,
    "EXTRACT": _PARTS, "DATE_PART": _PARTS, "WEEK": _PARTS, "DAYOFWEEK": _PARTS,
    "CAST": "values keep the type of their column; compare numbers with 5, text with '5'.",
    "DATE": "a date is written 2024-01-31 or '2024-01-31'.", "TIMESTAMP": "a time is written '2024-01-31T12:00'.",
    "IF": "write CASE WHEN condition THEN value ELSE value END.", "IIF": "write CASE WHEN … THEN … ELSE … END.",
    "CONTAINS": "write orders.status CONTAINS 'text'.", "STARTSWITH": "write users.bio STARTS WITH 'text'.",
    "INSERT": "a predictive query changes nothing.", "UPDATE": "a predictive query changes nothing.",
    "DELETE": "a predictive query changes nothing.", "DROP": "a predictive query changes nothing.",
}  # fmt: skip
