"""URLs of PostgreSQL, and what is said when they lead nowhere."""

from __future__ import annotations

import pytest

from rdl.database import open_reader
from rdl.errors import DatabaseError
from tests.servers import PostgresServer


def _refused(url: str) -> str:
    with pytest.raises(DatabaseError) as caught:
        open_reader(url)
    assert len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


def test_what_goes_wrong_when_connecting(counted: tuple[PostgresServer, str], monkeypatch: pytest.MonkeyPatch) -> None:
    server, url = counted
    name = url.rpartition("/")[2]
    wrong = _refused(server.url(name, password="hunter 2"))
    assert 'password authentication failed for user "postgres"' in wrong
    assert "PGPASSWORD" in wrong
    assert "hunter" not in wrong
    assert 'database "d0" does not exist' in _refused(server.url("d0"))
    assert f"did you mean {name!r}" in _refused(server.url(name + "x"))
    assert "start the server" in _refused(url.replace(f":{server.port}/", ":1/"))
    assert "start the server" in _refused("postgresql://ann:s3cret@no.such.host.invalid/shop")
    assert "server does not support SSL" in _refused(url + "?sslmode=require")
    assert "sslmode" in _refused(url + "?ssl=true")
    assert "leave that option out" in _refused(url + "?foo=1")
    assert "host=/run/postgresql" in _refused(f"postgresql:///shop?host={server.folder}/nowhere")
    assert "postgresql://user@host" in _refused("postgresql:shop")
    for odd in ("postgresql://ann:s3 cret@127.0.0.1:x/shop", "postgresql://ann:s3?cret@127.0.0.1/shop"):
        assert "cret" not in _refused(odd)


def test_ways_to_write_a_url(counted: tuple[PostgresServer, str], monkeypatch: pytest.MonkeyPatch) -> None:
    server, url = counted
    name = url.rpartition("/")[2]
    rest = url.partition("://")[2]
    raw = f"postgres:{server.PASSWORD}@127.0.0.1:{server.port}/{name}".replace("?", "%3F").replace(" ", "%20")
    good = [
        f"postgres://{rest}",
        f"postgresql+psycopg2://{rest}",
        f"postgresql+asyncpg://{rest}?application_name=me",
        f"postgresql://{raw}",
        url.replace(f"@127.0.0.1:{server.port}", "@") + f"?host={server.folder}&port={server.port}",
        url.replace("127.0.0.1", "127.0.0.1:1,127.0.0.1"),
    ]
    for each in good:
        reader = open_reader(each)
        assert reader.name == name
        assert reader.count("t") == 1000
        assert "s3cret" not in f"{reader.url} {reader!r}"
    redacted = open_reader(url).url
    assert "***" in redacted
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PGPASSFILE", "/nonexistent")
    assert "give the password" in _refused(redacted)
    monkeypatch.setenv("PGPASSWORD", server.PASSWORD)
    assert open_reader(redacted).count("t") == 1000
