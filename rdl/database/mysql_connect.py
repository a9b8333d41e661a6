"""Connections to MySQL and MariaDB: a URL as PyMySQL wants it, and what it and the server say when they fail."""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import pyarrow as pa
import pymysql

from rdl.database.failures import is_failure, reason_of
from rdl.database.url import DatabaseUrl
from rdl.errors import DatabaseError, did_you_mean

Options = dict[str, Any]
"""What :func:`pymysql.connect` takes."""

_SSL_FILES = ("ssl_ca", "ssl_cert", "ssl_key", "ssl_key_password")
_SSL_FLAGS = ("ssl_verify_cert", "ssl_verify_identity")
_SSL_MODES = ("disabled", "preferred", "required", "verify_ca", "verify_identity")
_OPTIONS = ("schemas", "charset", "unix_socket", "connect_timeout", "read_default_file", "read_default_group")
_ALLOWED = (*_OPTIONS, *_SSL_FILES, *_SSL_FLAGS, "ssl_mode")

_RETRY = "see whether the server still runs, and run it again."
_MEANWHILE = "it was changed or dropped meanwhile; run it again."
#: What to do, by the number of the error.
_HINTS = {
    1045: "give the password in the URL (percent-encoded), in MYSQL_PWD or under [client] in ~/.my.cnf.",
    1698: "the server lets this user in by other means than a password; use another user.",
    1044: "ask for the permission (GRANT).",
    1142: "ask for the permission (GRANT), or leave it out.",
    1143: "ask for the permission (GRANT), or leave it out.",
    1227: "ask for the permission (GRANT).",
    1040: "close other connections to the server.",
    1130: "the server does not let anybody in from here; ask who runs it.",
    2002: "start the server, or check the host and the port in the URL.",
    2003: "start the server, or check the host and the port in the URL.",
    1053: _RETRY,
    1927: _RETRY,
    2006: _RETRY,
    2013: _RETRY,
    1051: _MEANWHILE,
    1054: _MEANWHILE,
    1146: _MEANWHILE,
    1412: _MEANWHILE,
    1969: "lift max_statement_time for this user.",
    3024: "lift max_execution_time for this user.",
    1290: "the server only lets itself be read.",
    1836: "the server only lets itself be read.",
}
#: The numbers of the errors after which a connection is of no use.
LOST = (2006, 2013)


def options_of(url: DatabaseUrl) -> Options:
    """How to connect to ``url``. Raises DatabaseError for an option that cannot be used.

    ``***`` for a password, as a redacted URL has it, counts as none given; then MYSQL_PWD and ``~/.my.cnf`` say it.
    Rows come as UTF-8 whatever ``charset`` says: the server converts.
    """
    head, _, query = url.address.partition("://")[2].partition("?")
    if "@" not in head and "/" not in head and "@" in query:
        raise DatabaseError(
            f"{url.engine}://…: a '?' stands before the host", hint="percent-encode the password: '?' is %3F."
        )
    userinfo, _, place = head.rpartition("@")
    user, _, password = (unquote(part) for part in userinfo.partition(":"))
    host, _, database = place.partition("/")
    match = re.fullmatch(r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<host>[^:]*))(?::(?P<port>\d{0,5}))?", host)
    if match is None:
        raise DatabaseError(f"{url.redacted}: {host!r} is no host and port", hint="write host:port.")
    given = dict(parse_qsl(query, keep_blank_values=True))
    for name in given:
        if name not in _ALLOWED:
            raise DatabaseError(f"{url.redacted}: unknown option {name!r}", hint=did_you_mean(name, _ALLOWED))
    if password in ("", "***"):
        password = os.environ.get("MYSQL_PWD", "")
    options: Options = {
        "host": unquote(match["ipv6"] or match["host"] or ""),
        "port": int(match["port"] or 0),
        "user": user or None,
        "password": password.encode(),  # PyMySQL would take text for latin1
        "database": unquote(database) or (url.schemas[0] if url.schemas else None),
        "unix_socket": given.get("unix_socket"),
        "charset": "utf8mb4",
        "autocommit": True,
        "connect_timeout": _number(url, given.get("connect_timeout") or "15"),
        "program_name": "rdl",
    }
    settings = Path(given.get("read_default_file") or "~/.my.cnf").expanduser()
    if "read_default_file" in given and not settings.is_file():
        raise DatabaseError(f"{url.redacted}: there is no file {str(settings)!r}", hint="correct read_default_file.")
    if settings.is_file():
        group = given.get("read_default_group", "client")
        options |= {"read_default_file": str(settings), "read_default_group": group}
    return options | _encryption(url, given)


def _number(url: DatabaseUrl, text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise DatabaseError(f"{url.redacted}: connect_timeout={text!r}", hint="give it in whole seconds.")
    return int(text)


def _encryption(url: DatabaseUrl, given: dict[str, str]) -> Options:
    mode = given.get("ssl_mode", "preferred").lower()
    if mode not in _SSL_MODES:
        raise DatabaseError(f"{url.redacted}: ssl_mode={mode!r}", hint=f"use one of {', '.join(_SSL_MODES)}.")
    options: Options = {name: given[name] for name in _SSL_FILES if given.get(name)}
    options |= {name: given[name].lower() in ("1", "true", "yes") for name in _SSL_FLAGS if name in given}
    if mode == "disabled":
        return {"ssl_disabled": True}
    if mode == "required" and not options:
        return {"ssl": {"check_hostname": False, "verify_mode": "none"}}
    if mode.startswith("verify"):
        options |= {"ssl_verify_cert": True, "ssl_verify_identity": mode == "verify_identity"}
    return options


def connect(options: Options, url: DatabaseUrl) -> pymysql.Connection:
    """An open connection, each statement a transaction of its own, times in UTC. Raises DatabaseError."""
    try:
        connection = pymysql.connect(**options)
    except pymysql.err.Error as error:
        close = _neighbour(options, error)
        raise DatabaseError(f"{url.redacted}: {_reason(error)}", hint=close or hint_for(error)) from None
    except (OSError, RuntimeError, ValueError, configparser.Error) as error:
        raise DatabaseError(f"{url.redacted}: cannot be opened: {reason_of(error)}") from None
    try:
        # STRICT: what does not fit is refused, not cut. A client that is slow to read is not thrown out.
        run(
            connection,
            "SET SESSION time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES', net_write_timeout = 3600",
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        )
        limit = "max_statement_time" if is_mariadb(connection) else "max_execution_time"
        run(connection, f"SET SESSION {limit} = 0")
    except pymysql.err.Error as error:
        connection.close()
        raise DatabaseError(f"{url.redacted}: cannot be opened: {_reason(error)}", hint=hint_for(error)) from None
    return connection


def is_mariadb(connection: pymysql.Connection) -> bool:
    """Whether the server is MariaDB, and not MySQL."""
    return "mariadb" in str(connection.get_server_info()).lower()


def run(connection: pymysql.Connection, *statements: str) -> None:
    """Executes statements that return no rows."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def fetch(connection: pymysql.Connection, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of a small result; ``%s`` in ``sql`` stands for each of the ``values``."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return list(cursor.fetchall())


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Inside it, a failure of the driver, the server or Arrow is raised as DatabaseError "``doing``: the reason"."""
    try:
        yield
    except pymysql.err.Error as error:
        raise DatabaseError(f"{doing}: {_reason(error)}", hint=hint_for(error)) from None
    except (pa.ArrowException, OSError) as error:
        raise DatabaseError(f"{doing}: {reason_of(error)}") from None
    except Exception as error:
        if not is_failure(error):
            raise
        raise DatabaseError(f"{doing}: {reason_of(error)}") from None


def quote(name: str) -> str:
    """``name`` as an SQL identifier."""
    return "`" + name.replace("`", "``") + "`"


def qualified(schema: str, name: str) -> str:
    """The SQL name of what stands in a schema."""
    return f"{quote(schema)}.{quote(name)}"


def literal(text: str) -> str:
    """``text`` as an SQL string; backslashes escape, as sessions of :func:`connect` have it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def code_of(error: BaseException) -> int:
    """The number of an error, 0 where it has none."""
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def hint_for(error: BaseException) -> str | None:
    """What to do about ``error``, where that is known."""
    return _HINTS.get(code_of(error))


def _reason(error: BaseException) -> str:
    """One line of what was said, without the error's number."""
    if code_of(error) in LOST:
        return "the connection to the server was lost"
    said = str(error.args[1]) if len(error.args) > 1 else str(error)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[0][:300].rstrip(".") if lines else type(error).__name__


def _neighbour(options: Options, error: pymysql.err.Error) -> str | None:
    """A hint for a database that is not there: the nearest name among those of the server."""
    if code_of(error) != 1049:
        return None
    with suppress(pymysql.err.Error, OSError), pymysql.connect(**options | {"database": None}) as connection:
        return did_you_mean(str(options["database"]), databases(connection))
    return "check the name after the last slash of the URL."


def databases(connection: pymysql.Connection) -> list[str]:
    """The names of the server's databases that may be looked at, but for its own."""
    own = ("information_schema", "mysql", "performance_schema", "sys")
    return [str(name) for (name,) in fetch(connection, "SHOW DATABASES") if str(name).lower() not in own]
