"""Connections to PostgreSQL: a URL as libpq wants it, and what libpq and the server say when they fail."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, unquote

import adbc_driver_manager
import adbc_driver_postgresql
import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa

from rdl.database.scan import quote
from rdl.database.url import DatabaseUrl
from rdl.errors import DatabaseError, did_you_mean, redact

_PASSWORD_HINT = "give the password in the URL (percent-encoded), in PGPASSWORD or in ~/.pgpass."
_LIFT = "lift it for rdl: add ?options=-c%20{}%3D0 to the URL."
_RETRY = "see whether the server still runs, and run it again."
#: What to do, by what libpq or the server says: the first that is found.
_HINTS = {
    r"password authentication failed|no password supplied|SASL|no password": _PASSWORD_HINT,
    r"no pg_hba\.conf entry": "the server does not let this user in from here; ask who runs it.",
    r"role .* does not exist": "check the user's name in the URL.",
    r"too many clients|connection slots": "close other connections to the server.",
    r"invalid connection option": "leave that option out of the URL; it takes those of libpq, and ?schemas=.",
    r"SSL(?! SYSCALL| connection has been closed)": (
        "change ?sslmode= in the URL: disable, prefer, require, verify-ca or verify-full."
    ),
    r"on socket .* failed: No such file": (
        "name the server's host in the URL, or its socket's folder: ?host=/run/postgresql."
    ),
    r"refused|No such file|translate host|timeout expired|No route|unreachable|timed out": (
        "start the server, or check the host and the port in the URL."
    ),
    r"snapshot .* does not exist": "the server ended the consistent read, for idleness perhaps; run it again.",
    r"invalid (?:port|integer|sslmode|connection)": "correct it in the URL.",
    r"statement timeout": _LIFT.format("statement_timeout"),
    r"idle-in-transaction timeout": _LIFT.format("idle_in_transaction_session_timeout"),
    r"transaction timeout": _LIFT.format("transaction_timeout"),
    r"conflict with recovery": "raise max_standby_streaming_delay on this standby, or read from the primary.",
    r"permission denied": "ask for the permission (GRANT), or leave it out.",
    r"no equivalent in encoding|invalid byte sequence": "correct the text, or leave that column out.",
    r"invalid memory alloc|out of memory|enlarge string buffer|request size": "leave the column of huge cells out.",
    r"closed the connection|terminating connection|connection to server was lost|no connection to|not open"
    r"|starting up|shutting down|Connection reset|Broken pipe|recovery mode|consumeInput|SSL SYSCALL|SSL conn": _RETRY,
    r"(?:relation|column|table|type) .*does not exist|could not open relation|cache lookup failed": (
        "it was changed or dropped meanwhile; run it again."
    ),
}
_SAID = re.compile(r"(?:(?:ERROR|FATAL|PANIC):\s+|.*(?=server closed the connection))(?P<said>.*)")
_PREFIXES = re.compile(
    r"^(?:[A-Z_]+: |\[libpq\] |(?:Failed to|could not) [a-z A-Z]+: |[A-Za-z()]+ failed(?: at row \d+)?: )+"
)


def conninfo(url: DatabaseUrl) -> str:
    """The connection string of libpq for ``url``, whose messages then repeat no part of the password.

    ``***`` for a password, as a redacted URL has it, counts as none given. Raises DatabaseError.
    """
    if re.search(r"\s", url.address):
        raise DatabaseError(f"a {url.engine} URL with a space in it", hint="percent-encode what it holds: %20.")
    _, mark, rest = url.address.partition("://")
    if not mark:
        raise DatabaseError(f"{url.redacted}: there is no host", hint="write postgresql://user@host/database.")
    head, _, query = rest.partition("?")
    if "@" not in head and "/" not in head and "@" in query:
        raise DatabaseError(
            f"{url.engine}://…: a '?' stands before the host", hint="percent-encode the password: '?' is %3F."
        )
    userinfo, _, place = head.rpartition("@")
    user, _, password = userinfo.partition(":")
    hosts, _, database = place.partition("/")
    split = [re.fullmatch(r"\[?(.*?)\]?(?::([^:\]]*))?", host) for host in hosts.split(",")]
    found = {
        "user": unquote(user),
        "password": unquote(password),
        "host": ",".join(unquote(match[1]) for match in split if match),
        "port": ",".join(match[2] or "" for match in split if match),
        "dbname": unquote(database),
    }
    if not found["port"].strip(","):
        del found["port"]
    named = dict(parse_qsl(query, keep_blank_values=True))
    if named.pop("ssl", "") in ("true", "1", "require"):
        named.setdefault("sslmode", "require")
    if odd := next((name for name in named if not re.fullmatch(r"[A-Za-z_]+", name)), None):
        raise DatabaseError(f"{url.redacted}: invalid connection option {odd!r}")
    given = {name: value for name, value in {**found, **named}.items() if value}
    if given.get("password") == "***":
        del given["password"]
    if "PGCONNECT_TIMEOUT" not in os.environ:
        given.setdefault("connect_timeout", "15")
    given["fallback_application_name"] = "rdl"
    if "\0" in "".join(given.values()):
        raise DatabaseError(f"{url.redacted}: a NUL byte in the URL", hint="leave out %00.")
    return " ".join(f"{name}='{value.translate(_ESCAPES)}'" for name, value in given.items())


_ESCAPES = str.maketrans({"\\": "\\\\", "'": "\\'"})


# Text as it is where the server knows no encoding; rows in the table's order, not where another scan stands.
_SETTINGS = """SELECT set_config('TimeZone', 'UTC', false), set_config('synchronize_seqscans', 'off', false),
    set_config('client_encoding', CASE current_setting('server_encoding') WHEN 'SQL_ASCII' THEN 'SQL_ASCII'
        ELSE 'UTF8' END, false)"""


class Connector:
    """Opens connections to one database. The driver reads all types of the server once, which takes longer than to
    connect; no connection is held in between. Raises DatabaseError where the server does not let it in."""

    def __init__(self, url: DatabaseUrl) -> None:
        self._options, self._shown = conninfo(url), url.redacted
        with self._told():
            self._types = adbc_driver_postgresql.connect(self._options)

    def __call__(self) -> adbc.Connection:
        """An open connection, whose times are in UTC. Raises DatabaseError."""
        with self._told():
            connection = adbc.Connection(_Kept(), adbc_driver_manager.AdbcConnection(self._types), autocommit=True)
            try:
                fetch(connection, _SETTINGS)
            except BaseException:
                connection.close()
                raise
        return connection

    def close(self) -> None:
        """Lets go of what was read of the types; no connection may be open."""
        self._types.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except adbc.Error as error:
            said = _reason(error)
            hint = _neighbour(self._options, said) or _hint(said)
            raise DatabaseError(f"{self._shown}: {said}", hint=hint) from None


class _Kept:
    """Stands where a connection expects what it would close with itself."""

    def close(self) -> None:
        pass


def run(connection: adbc.Connection, *statements: str) -> None:
    """Executes statements that return no rows."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def fetch(connection: adbc.Connection, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a small result."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Inside it, a failure of the driver, the server or Arrow is raised as DatabaseError "``doing``: the reason"."""
    try:
        yield
    except (adbc.Error, pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DatabaseError(f"{doing}: {_reason(error)}", hint=_hint(str(error))) from None


def literal(text: str) -> str:
    """``text`` as an SQL string, whatever ``standard_conforming_strings`` says."""
    if "\0" in text:
        raise DatabaseError(f"{text!r} holds a NUL byte, which PostgreSQL has no text for")
    doubled = text.replace("'", "''")
    return " E'" + doubled.replace("\\", "\\\\") + "'" if "\\" in text else f"'{doubled}'"


def qualified(schema: str, name: str) -> str:
    """The SQL name of what stands in a schema."""
    return f"{quote(schema)}.{quote(name)}"


def _reason(error: BaseException) -> str:
    """One line of what was said, without the driver's words before it and without the query."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in lines:
        if match := _SAID.search(line):
            return _tidy(match["said"])
    return _tidy(_PREFIXES.sub("", lines[0])) if lines else type(error).__name__


def _tidy(line: str) -> str:
    said = re.sub(r"\.? SQLSTATE: \w+$", "", line.partition("Query was:")[0]).replace("fe_sendauth: ", "")
    return redact(said.strip()[:300].rstrip("."))


def _hint(said: str) -> str | None:
    said = said.partition("Query was:")[0]
    return next((hint for pattern, hint in _HINTS.items() if re.search(pattern, said)), None)


def _neighbour(options: str, said: str) -> str | None:
    """A hint for a database that is not there: the nearest name among those of the server."""
    missing = re.search(r'database "(.*)" does not exist', said)
    if missing is None:
        return None
    with suppress(adbc.Error), adbc.connect(f"{options} dbname='postgres'", autocommit=True) as connection:
        names = fetch(connection, "SELECT datname::text FROM pg_database WHERE NOT datistemplate ORDER BY 1")
        return did_you_mean(missing[1], [name for (name,) in names])
    return "check the name after the last slash of the URL."
