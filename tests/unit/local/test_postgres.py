"""The embedded PostgreSQL server keeps what it acknowledged and hides its superuser."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from fastn.local.errors import AlreadyRunning
from fastn.local.postgres import EmbeddedPostgres, PostgresEndpoint


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("cluster")
    yield directory
    EmbeddedPostgres(directory).erase()


@pytest.fixture
def server(directory: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(directory, settings={"max_connections": "37"})
    yield server
    server.stop()


def scalar(url: str, statement: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]


def test_owner_is_no_superuser_and_cannot_bypass_row_security(server: EmbeddedPostgres) -> None:
    endpoint = server.start()

    assert scalar(endpoint.owner_url, "SELECT current_user::text") == "fastn_owner"
    assert scalar(
        endpoint.owner_url,
        "SELECT array[rolsuper, rolbypassrls, rolreplication, rolcreaterole, rolcreatedb, rolcanlogin]"
        " FROM pg_roles WHERE rolname = current_user",
    ) == [False, False, False, True, True, True]
    assert scalar(
        endpoint.owner_url, "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()"
    ) == ("fastn_owner")


def test_settings_are_applied_and_durability_is_on(server: EmbeddedPostgres) -> None:
    endpoint = server.start()

    assert scalar(endpoint.owner_url, "SELECT current_setting('max_connections')") == "37"
    assert scalar(endpoint.owner_url, "SELECT current_setting('synchronous_commit')") == "on"
    assert scalar(endpoint.owner_url, "SELECT current_setting('fsync')") == "on"


@pytest.mark.parametrize("name", ["fsync", "synchronous_commit", "full_page_writes"])
def test_durability_cannot_be_turned_off(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        EmbeddedPostgres(tmp_path, settings={name: "off"})


def test_version_is_the_one_of_aurora(server: EmbeddedPostgres) -> None:
    assert str(scalar(server.start().owner_url, "SELECT current_setting('server_version')")).startswith("18.")


def test_wrong_password_is_refused(server: EmbeddedPostgres) -> None:
    endpoint = server.start()

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(endpoint.owner_url, password="guess")


def test_server_does_not_run_as_root(server: EmbeddedPostgres) -> None:
    server.start()

    assert server.pid is not None
    assert psutil.Process(server.pid).uids().real != 0 or os.geteuid() != 0


def test_restart_keeps_port_password_and_rows(server: EmbeddedPostgres) -> None:
    first = server.start()
    write_rows(first, 1)
    server.stop()

    second = server.start()

    assert second == first
    assert scalar(second.owner_url, "SELECT count(*) FROM kept") == 1


def test_every_acknowledged_row_survives_kill_minus_nine(directory: Path, server: EmbeddedPostgres) -> None:
    endpoint = server.start()
    before = write_rows(endpoint, 100)
    assert server.pid is not None
    backends = psutil.Process(server.pid).children()

    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    assert (directory / "data" / "postmaster.pid").exists() or (directory / "data-directory.txt").exists()
    endpoint = server.start()

    assert scalar(endpoint.owner_url, "SELECT count(*) FROM kept") == before
    assert not [backend for backend in backends if is_alive(backend)]


def test_recorded_process_id_that_belongs_to_another_program_does_not_block_the_start(
    directory: Path, server: EmbeddedPostgres
) -> None:
    server.start()
    server.stop()
    data = Path(_data_directory(directory))
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n")

    endpoint = server.start()

    assert scalar(endpoint.owner_url, "SELECT 1") == 1


def test_directory_serves_one_server_at_a_time(directory: Path, server: EmbeddedPostgres) -> None:
    server.start()

    with pytest.raises(AlreadyRunning):
        EmbeddedPostgres(directory).start()


def test_credentials_are_readable_by_their_owner_alone(directory: Path, server: EmbeddedPostgres) -> None:
    server.start()

    assert (directory / "credentials.json").stat().st_mode & 0o077 == 0


def test_unreachable_directory_keeps_its_data_below_the_temporary_one_and_says_where(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has to give its rights away")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "cluster")

    with server as endpoint:
        elsewhere = Path((closed / "cluster" / "data-directory.txt").read_text().strip())
        assert (elsewhere / "PG_VERSION").exists()
        assert scalar(endpoint.owner_url, "SELECT 1") == 1
    server.erase()

    assert not elsewhere.exists()
    assert not (closed / "cluster").exists()


def test_start_of_an_existing_cluster_is_quick(server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    started_at = time.monotonic()

    server.start()

    assert time.monotonic() - started_at < 2


def test_creation_of_a_cluster_is_told_from_its_reuse(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "new")
    with server:
        first = server.is_new
    with server:
        second = server.is_new
    server.erase()

    assert (first, second) == (True, False)


def is_alive(process: psutil.Process) -> bool:
    """Whether it still runs; one that ended and waits for init to collect it does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def write_rows(endpoint: PostgresEndpoint, count: int) -> int:
    """Insert and acknowledge rows one by one; the number of rows there are now."""
    with psycopg.connect(endpoint.owner_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
        for number in range(count):
            connection.execute("INSERT INTO kept VALUES (%s)", [number])
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
    assert row is not None
    return int(row[0])


def _data_directory(directory: Path) -> str:
    pointer = directory / "data-directory.txt"
    return pointer.read_text().strip() if pointer.exists() else str(directory / "data")
