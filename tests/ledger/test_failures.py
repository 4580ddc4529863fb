"""What goes wrong outside the ledger is said in a sentence with a next step; and it recovers."""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tidemill.ledger import LedgerError, open_ledger

if TYPE_CHECKING:
    from tests.ledger.conftest import PostgresServer

PASSWORD = "tide & mill/@"


def complaint(work: Callable[[], object]) -> str:
    with pytest.raises(LedgerError) as caught:
        work()
    assert caught.value.hint
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite://", "needs an absolute path"),
        ("sqlite:///:memory:", "needs an absolute path"),
        ("sqlite:///state/ledger.db", "needs an absolute path, not 'state/ledger.db'"),
        ("sqlite:////tmp", "/tmp is a folder"),
        ("sqlite:////proc/nowhere/ledger.db", "/proc/nowhere cannot be created or entered"),
        ("mysql://root:secret@localhost/x", "does not work with 'mysql'"),
        ("postgresql+psycopg2://root:secret@localhost/x", "does not work with 'postgresql+psycopg2'"),
        ("root:secret@localhost/x", "is not a SQLAlchemy URL"),
        ("postgresql://u:secret@localhost:port/x", "is not a SQLAlchemy URL"),
        ("", "is not a SQLAlchemy URL"),
    ],
)
def test_urls_that_cannot_be_a_ledger(url: str, says: str) -> None:
    text = complaint(lambda: open_ledger(url))
    assert says in text
    assert "secret" not in text


def test_the_place_names_no_secret(postgres: PostgresServer, tmp_path: Path) -> None:
    with open_ledger(postgres.new_database()) as ledger:
        assert re.fullmatch(rf"ledger_\d+ at 127.0.0.1:{postgres.port}", ledger.place)
    with open_ledger(f"sqlite:///{tmp_path}/l.db") as ledger:
        assert ledger.place == f"{tmp_path}/l.db"


def test_both_spellings_of_postgresql(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    for scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        with open_ledger(url.replace("postgresql", scheme, 1)) as ledger:
            assert ledger.models() == []


# --- SQLite ---------------------------------------------------------------------------------------------


def test_a_new_file_lets_readers_pass_the_writer(tmp_path: Path) -> None:
    with open_ledger(f"sqlite:///{tmp_path}/a/b/ledger.db", busy_timeout=0.1) as ledger:
        entry = ledger.append("m", "run", {})
        with sqlite3.connect(tmp_path / "a/b/ledger.db", isolation_level=None) as other:
            assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            other.execute("BEGIN IMMEDIATE")
            assert ledger.head("m") == entry
            text = complaint(lambda: ledger.append("m", "run", {}))
            assert f"{tmp_path}/a/b/ledger.db is locked: another process kept it for more than 0.1 s" in text
            assert "fuser" in text
            other.execute("ROLLBACK")
        other.close()
        assert ledger.append("m", "run", {}).seq == 2


def test_a_file_locked_outright(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    open_ledger(url).close()
    with sqlite3.connect(tmp_path / "ledger.db", isolation_level=None) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        assert "is locked" in complaint(lambda: open_ledger(url, busy_timeout=0.2))
        assert 0.15 < time.monotonic() - started < 5
    other.close()
    open_ledger(url).close()


def test_a_short_lock_is_waited_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    with open_ledger(url) as ledger:
        release = multiprocessing.get_context("fork").Process(target=_hold, args=(tmp_path / "ledger.db", 0.5))
        release.start()
        while not (tmp_path / "held").exists():
            time.sleep(0.01)
        assert ledger.append("m", "run", {}).seq == 1
        release.join(10)
        assert release.exitcode == 0


def _hold(path: Path, seconds: float) -> None:
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        (path.parent / "held").touch()
        time.sleep(seconds)
        other.execute("COMMIT")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("tidemill: 1\n" * 200)
    assert f"{path} is not a SQLite database" in complaint(lambda: open_ledger(f"sqlite:///{path}"))
    assert path.read_text() == "tidemill: 1\n" * 200


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with open_ledger(f"sqlite:///{path}") as ledger:
        for _ in range(20):
            ledger.append("m", "run", {"x": "y" * 1000})
        data = bytearray(path.read_bytes())
        data[4096 : len(data)] = b"\x55" * (len(data) - 4096)
        path.write_bytes(data)
        text = complaint(lambda: ledger.entries("m"))
        assert "is damaged" in text
        assert "backup" in text


def test_a_full_disk(tmp_path: Path) -> None:
    """The limit on a file's size stands for the disk's end: the write fails in the middle of the append."""
    path = tmp_path / "ledger.db"
    with open_ledger(f"sqlite:///{path}") as ledger:
        first = ledger.append("m", "run", {})

        def work() -> str:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
            return complaint(lambda: ledger.append("m", "run", {"x": "y" * 900_000}))

        assert re.search(f"disk (that holds|failed under) the ledger {path}", in_child(work))
        assert ledger.entries("m") == [first]
        assert ledger.append("m", "run", {"x": "y" * 900_000}, expect_head=first.hash).seq == 2
        assert ledger.verify("m") == []


def in_child(work: Callable[[], str]) -> str:
    """What `work` returns in a process of its own."""
    answers = multiprocessing.get_context("fork").SimpleQueue()

    def run() -> None:
        try:
            answers.put(work())
        except BaseException as error:  # noqa: BLE001  (told to the parent)
            answers.put(f"unexpected {error!r}")

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    answer: str = answers.get()
    process.join(10)
    return answer


def as_nobody(work: Callable[[], str]) -> str:
    """What `work` returns in a process without root's power to ignore permissions."""

    def run() -> str:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        return work()

    return in_child(run)


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder that any user can reach."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder.name.startswith(("pytest-", "test_", "popen-")):
            folder.chmod(0o755)
    return tmp_path


def test_a_read_only_file_can_be_read_but_not_written(open_folder: Path) -> None:
    path = open_folder / "ledger.db"
    url = f"sqlite:///{path}"
    with open_ledger(url) as ledger:
        ledger.append("m", "run", {})
    with sqlite3.connect(path) as other:  # as on a file system that knows no WAL
        other.execute("PRAGMA journal_mode=DELETE")
    other.close()
    path.chmod(0o444)

    def work() -> str:
        with open_ledger(url) as ledger:
            assert ledger.verify("m") == []
            assert len(ledger.entries("m")) == 1
            return complaint(lambda: ledger.append("m", "run", {}))

    text = as_nobody(work)
    assert f"{path} is read-only" in text
    assert "write permission" in text


@pytest.mark.parametrize(
    ("mode", "says"),
    [(0o700, "cannot be created or entered: Permission denied"), (0o755, "cannot be opened")],
)
def test_a_folder_without_permission(open_folder: Path, mode: int, says: str) -> None:
    folder = open_folder / "closed"
    folder.mkdir()
    folder.chmod(mode if os.geteuid() == 0 else mode & 0o555 if mode & 0o055 else 0)
    text = as_nobody(lambda: complaint(lambda: open_ledger(f"sqlite:///{folder}/ledger.db")))
    assert str(folder) in text
    assert says in text
    folder.chmod(0o755)


# --- PostgreSQL -----------------------------------------------------------------------------------------


def test_wrong_password_unknown_user_and_missing_database(postgres: PostgresServer) -> None:
    for url in (postgres.url("postgres", password="wrong"), postgres.url("postgres", user="nobody")):
        text = complaint(lambda url=url: open_ledger(url))  # type: ignore[misc]
        assert "refuses the user or the password" in text
        assert "wrong" not in text
    text = complaint(lambda: open_ledger(postgres.url("nowhere")))
    assert f"nowhere at 127.0.0.1:{postgres.port} does not exist" in text


def test_nobody_listens(postgres: PostgresServer) -> None:
    started = time.monotonic()
    text = complaint(lambda: open_ledger(postgres.url("postgres", port=1)))
    assert "postgres at 127.0.0.1:1 cannot be reached" in text
    assert "Check that the server runs" in text
    assert time.monotonic() - started < 5


def test_a_user_who_may_not_create_tables(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    postgres.sql(
        url.rsplit("/", 1)[1],
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        "CREATE ROLE reader LOGIN PASSWORD 'reader'",
    )
    poor = postgres.url(url.rsplit("/", 1)[1], user="reader", password="reader")
    text = complaint(lambda: open_ledger(poor))
    assert "may not do this" in text
    assert "GRANT USAGE, CREATE" in text


def test_a_session_that_keeps_the_lock(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    with open_ledger(url, busy_timeout=0.3) as ledger, psycopg.connect(url.replace(" ", "%20")) as other:
        ledger.append("m", "run", {})
        other.execute("LOCK TABLE tidemill_ledger IN ACCESS EXCLUSIVE MODE")
        text = complaint(lambda: ledger.append("m", "run", {}))
        assert "is locked: another session kept it for more than 0.3 s" in text
        assert "pg_stat_activity" in text
        other.rollback()
        assert ledger.append("m", "run", {}).seq == 2


def test_a_read_only_server(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    with open_ledger(url) as ledger:
        postgres.sql("postgres", f"ALTER DATABASE {url.rsplit('/', 1)[1]} SET default_transaction_read_only = on")
        assert ledger.models() == []
        assert "is read-only" in complaint(lambda: ledger.append("m", "run", {}))


def test_a_server_whose_default_isolation_is_stricter(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    name = url.rsplit("/", 1)[1]
    postgres.sql("postgres", f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    with open_ledger(url) as ledger:
        level = ledger._database
        with level.read() as connection:
            assert connection.exec_driver_sql("SHOW transaction_isolation").scalar_one() == "read committed"


def test_the_same_ledger_works_again_when_its_server_was_restarted(postgres: PostgresServer) -> None:
    with open_ledger(postgres.new_database()) as ledger:
        first = ledger.append("m", "run", {})
        postgres.stop()
        try:
            for work in (
                lambda: ledger.append("m", "run", {}),
                lambda: ledger.entries("m"),
                lambda: ledger.verify("m"),
            ):
                started = time.monotonic()
                assert "cannot be reached" in complaint(work)
                assert time.monotonic() - started < 5
        finally:
            postgres.start()
        assert ledger.append("m", "run", {}, expect_head=first.hash).seq == 2


@pytest.mark.parametrize("lost", ["before the commit", "after the commit"])
def test_a_connection_lost_around_the_commit_writes_the_entry_once(postgres: PostgresServer, lost: str) -> None:
    """Without the answer to its COMMIT the ledger looks, under the lock, whether the entry is there."""
    with open_ledger(postgres.new_database()) as ledger:
        dialect: Any = ledger._database._engine.dialect
        commit = dialect.do_commit
        lose = [True]

        def lossy_commit(connection: Any) -> None:
            if not lose:
                return commit(connection)
            lose.clear()
            if lost == "after the commit":
                commit(connection)
            postgres.sql(
                "postgres",
                f"SELECT pg_terminate_backend({connection.driver_connection.info.backend_pid}, 5000)",
            )
            connection.driver_connection.execute("SELECT 1")  # the driver notices, as it would in its own COMMIT
            raise AssertionError("the connection is still there")

        dialect.do_commit = lossy_commit
        entry = ledger.append("m", "run", {"i": 1}, expect_head=None)
        assert lose == []
        assert ledger.entries("m") == [entry]
        assert ledger.verify("m", entry.hash) == []


def test_an_append_whose_fate_is_unknown_says_so(postgres: PostgresServer) -> None:
    with open_ledger(postgres.new_database()) as ledger:
        dialect: Any = ledger._database._engine.dialect
        commit = dialect.do_commit

        def stop_at_commit(connection: Any) -> None:
            dialect.do_commit = commit
            postgres.stop()
            commit(connection)

        dialect.do_commit = stop_at_commit
        try:
            text = complaint(lambda: ledger.append("m", "run", {}, key="k"))
        finally:
            postgres.start()
        assert "not known whether the entry was written: append it again with the same key" in text
        assert ledger.append("m", "run", {}, key="k").seq == 1
