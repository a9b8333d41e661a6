"""Database URLs: which engine, which file or folder, which schemas."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, unquote_plus

from rdl.errors import DatabaseError, did_you_mean, nearest, redact

#: Engines whose URL names a file.
FILE_ENGINES = ("sqlite", "duckdb")
#: Engines on a server: scheme → (module of the driver, extra of rdl that installs it).
SERVER_ENGINES = {
    "postgresql": ("adbc_driver_postgresql", "postgres"),
    "mysql": ("pymysql", "mysql"),
    "mariadb": ("pymysql", "mysql"),
}
SCHEMES = (*FILE_ENGINES, "folder", "relbench", *SERVER_ENGINES)
_SUFFIXES = {".sqlite": "sqlite", ".sqlite3": "sqlite", ".db": "sqlite", ".db3": "sqlite", ".duckdb": "duckdb"}
_SQLITE_MAGIC = b"SQLite format 3\x00"
# As far as the last @, whatever stands between: better too much than a part of a password.
_PASSWORD = re.compile(r"(?s)^([\w+.-]+://[^:/@]*):(?!\*\*\*@).*@")
# In what is no URL, and so no path that could be opened again: whatever may be a password.
_LOOSE = re.compile(
    r"(?s)((?:^|[/'])[^:/@']*):(?!/)[^@]*@|((?:password|passwd|pwd|secret|token|key)\s*=\s*)('[^']*'|\S+)", re.I
)
_SECRET = re.compile(r"(?i)([?&;](?:\w*(?:password|passwd|pwd|secret|token|key))=)[^&;]*")


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A database's address, read. ``engine`` is one of :data:`SCHEMES` or a SQLAlchemy dialect; ``path`` is the
    existing file or folder (None for a server or a data set of the RelBench hub); ``location`` what stood after
    the scheme; ``schemas`` those picked by ``?schemas=``; ``redacted`` the URL without its password; ``address`` the
    whole URL without ``?schemas=``, for the driver of a server only."""

    engine: str
    path: Path | None
    location: str = field(repr=False)
    schemas: tuple[str, ...]
    redacted: str
    address: str = field(default="", repr=False)


def redact_url(text: str) -> str:
    """``text`` with its password, and every secret among its options, as ``***``.

    >>> redact_url("mysql://ann:s3cret@db/shop?ssl_key=abc")
    'mysql://ann:***@db/shop?ssl_key=***'
    """
    return _SECRET.sub(r"\1***", redact(_PASSWORD.sub(r"\1:***@", text)))


def _hidden(text: str) -> str:
    """``text``, which names nothing that is there, without what may be a password."""
    return _LOOSE.sub(lambda found: f"{found[1]}:***@" if found[1] is not None else f"{found[2]}***", redact_url(text))


def parse_url(url: str | os.PathLike[str]) -> DatabaseUrl:
    """Reads a database URL, or the bare path of a file or a folder. Nothing is opened and nothing created.

    Raises DatabaseError for an unknown scheme or option, and where the file or folder is not there.
    """
    text = os.fspath(url).strip()
    if not text:
        raise DatabaseError("the database URL is empty", hint="write sqlite:///shop.sqlite, duckdb:///shop.duckdb …")
    shown = redact_url(text)
    match = re.match(r"([A-Za-z][A-Za-z0-9_+.-]+):(//)?", text)
    if match is None or (not match[2] and match[1].lower() not in SCHEMES and Path(text).expanduser().exists()):
        return _parse_path(text, shown)
    engine, rest = match[1].lower().split("+")[0], text[match.end() :]
    engine = "postgresql" if engine == "postgres" else engine
    if engine in ("folder", "relbench"):
        location, schemas = _split_options(rest.removeprefix("//") if match[2] else rest, shown)
        if schemas:
            raise DatabaseError(f"{shown}: a {engine} has no schemas", hint="leave out ?schemas=.")
        path = _existing(location)
        if engine == "folder" and (path is None or not path.is_dir()):
            raise DatabaseError(f"there is no folder {location!r}", hint=_neighbour(location))
        return DatabaseUrl(engine, path, location, (), shown)
    if engine in FILE_ENGINES:
        return _parse_file(engine, rest, bool(match[2]), shown)
    if engine in SERVER_ENGINES or _is_dialect(engine):
        if not match[2]:
            raise DatabaseError(
                f"{_hidden(text)}: a server's URL begins with {engine}://",
                hint=f"write {engine}://user@host/database.",
            )
        authority = re.split("[/?#]", rest, maxsplit=1)[0]
        if "@" not in rest and re.search(r":(?!\d*(?:,|$))", re.sub(r"\[[^]]*\]", "", authority)):
            raise DatabaseError(
                f"{engine}://***: what follows the colon is no port, and before a host stands no @",
                hint=f"write {engine}://user:password@host/database.",
            )
        return DatabaseUrl(engine, None, rest, _server_schemas(rest), shown, _without_schemas(text))
    close = nearest(engine, SCHEMES)
    hint = f"did you mean {close}:…?" if close else f"use one of {', '.join(SCHEMES)}, or the path of a file or folder."
    raise DatabaseError(f"{_hidden(text)}: unknown scheme {engine!r}", hint=hint)


def _parse_file(engine: str, rest: str, slashes: bool, shown: str) -> DatabaseUrl:
    # sqlite:///file is relative, sqlite:////file absolute: one slash ends the (empty) host.
    if slashes and rest and not rest.startswith("/"):
        raise DatabaseError(
            f"{shown}: {rest.partition('/')[0]!r} stands where a host would", hint=f"write {engine}:///{rest}."
        )
    location, schemas = _split_options(rest.removeprefix("/") if slashes else rest, shown)
    if location in ("", ":memory:"):
        raise DatabaseError(f"{shown}: a database in memory has no rows to read", hint=f"write {engine}:///file.")
    if schemas and engine == "sqlite":
        raise DatabaseError(f"{shown}: SQLite has no schemas", hint="leave out ?schemas=.")
    path = _existing(location)
    if path is None:
        raise DatabaseError(f"there is no file {location!r}", hint=_neighbour(location))
    if path.is_dir():
        raise DatabaseError(f"{location!r} is a folder, not a {engine} file", hint=f"write folder:{location}.")
    return DatabaseUrl(engine, path, location, schemas, shown)


def _parse_path(text: str, shown: str) -> DatabaseUrl:
    path, location = _existing(text), text
    schemas: tuple[str, ...] = ()
    if path is None:
        location, schemas = _split_options(text, shown)
        path = _existing(location)
    if path is None:
        raise DatabaseError(f"there is no file or folder {_hidden(location)!r}", hint=_neighbour(location))
    if path.is_dir():
        engine = "relbench" if (path / "manifest.yaml").is_file() and (path / "db").is_dir() else "folder"
        return DatabaseUrl(engine, path, location, (), shown)
    with path.open("rb") as file:
        start = file.read(16)
    known = "sqlite" if start == _SQLITE_MAGIC else "duckdb" if start[8:12] == b"DUCK" else None
    engine_ = known or _SUFFIXES.get(path.suffix.lower())
    if engine_ is None:
        raise DatabaseError(
            f"{location!r} is neither a SQLite nor a DuckDB file",
            hint="give a folder of Parquet or CSV files by the folder's own path.",
        )
    return DatabaseUrl(engine_, path, location, schemas, shown)


def _split_options(text: str, shown: str) -> tuple[str, tuple[str, ...]]:
    """The location and the schemas of ``location?schemas=a,b``."""
    location, mark, query = text.partition("?")
    if not mark or _existing(text) is not None:
        return text, ()
    for option, _ in parse_qsl(query, keep_blank_values=True):
        if option != "schemas":
            raise DatabaseError(f"{shown}: unknown option {option!r}", hint=did_you_mean(option, ["schemas"]))
    return location, _server_schemas(text)


def _server_schemas(text: str) -> tuple[str, ...]:
    options = text.partition("?")[2].split("&")
    named = [option.removeprefix("schemas=") for option in options if option.startswith("schemas=")]
    names = (unquote_plus(name).strip() for name in ",".join(named).split(","))
    return tuple(dict.fromkeys(name for name in names if name))


def schemas_option(schemas: Iterable[str]) -> str:
    """The option of a URL that picks ``schemas``; what would end a name there is percent-encoded.

    >>> schemas_option(["Sales EU", "a,b"])
    '?schemas=Sales EU,a%2Cb'
    """
    return "?schemas=" + ",".join(re.sub(r"[%&,#+]", lambda found: f"%{ord(found[0]):02X}", name) for name in schemas)


def _without_schemas(text: str) -> str:
    """The URL without its option ``schemas``, every other character as it was."""
    head, _, options = text.partition("?")
    kept = [option for option in options.split("&") if option and not option.startswith("schemas=")]
    return "?".join([head, "&".join(kept)]) if kept else head


def _existing(location: str) -> Path | None:
    """The path that ``location`` names, as it stands or percent-decoded; None where there is nothing."""
    for text in (location, unquote(location)):
        path = Path(text).expanduser()
        try:
            if text and path.exists():
                return path
        except (OSError, ValueError):
            return None
    return None


def _neighbour(location: str) -> str:
    """A hint for a path that is not there: the nearest name beside it, else where it was looked for."""
    path = Path(location).expanduser()
    try:
        close = nearest(path.name, [entry.name for entry in path.parent.iterdir()])
    except OSError:
        return f"there is no folder {_hidden(str(path.parent))!r} either."
    return (
        f"did you mean {str(path.parent / close)!r}?"
        if close
        else f"it was looked for in {_hidden(str(path.parent.resolve()))}."
    )


def _is_dialect(engine: str) -> bool:
    """Whether SQLAlchemy knows ``engine``, built in or through an installed dialect."""
    from sqlalchemy.dialects import registry
    from sqlalchemy.exc import NoSuchModuleError

    try:
        registry.load(engine)
    except NoSuchModuleError:
        return False
    except ImportError:
        return True
    return True
