"""Brings the embedded runtime up and down: database, fork server, emulator, template, hot reload."""

import fcntl
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

import fastn
from fastn.local import ports, scratch
from fastn.local.assembly import SYNTHESIS_READS, Digests, synthesize
from fastn.local.control import ForkServerControl
from fastn.local.deployment import AssemblyDeployment
from fastn.local.errors import AlreadyRunning, StartFailed
from fastn.local.postgres import EmbeddedPostgres, PostgresEndpoint
from fastn.local.processes import ServiceProcess, base_variables

CPU_LOG_NAME = "cpu.jsonl"
LOCK_NAME = "supervisor.lock"
HEALTH_PATH = "/_ministack/health"
WATCH_DEBOUNCE_MS = 50


def _print_line(line: str) -> None:
    print(line, flush=True)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where everything answers. `outputs` are those of all stacks; a later stack wins a shared name.

    `api_url` is the HTTP API, `instant_url` the function URL; both answer 503 until they are deployed.
    """

    api_url: str
    instant_url: str
    aws_endpoint_url: str
    database: PostgresEndpoint
    outputs: Mapping[str, str]
    log_directory: Path


def _no_parameters(_database: PostgresEndpoint, _api_url: str) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """How to run. The callbacks keep this package free of the product's own modules.

    `parameters` makes the stacks' parameters from the database and the public URL of the API; `migrate` runs
    when a migration changed or the database is new; `reconcile` runs after every deployment, because the
    emulator's state is in memory. `assembly` names a synthesized cloud assembly instead of the checkout's own app.
    """

    state_directory: Path | None = None
    assembly: Path | None = None
    parameters: Callable[[PostgresEndpoint, str], Mapping[str, str]] = _no_parameters
    migrate: Callable[[PostgresEndpoint], None] | None = None
    reconcile: Callable[[Endpoints], None] | None = None
    postgres_settings: Mapping[str, str] = field(default_factory=dict[str, str])
    emulator_variables: Mapping[str, str] = field(default_factory=dict[str, str])
    loopback_routes: Mapping[str, int] = field(default_factory=dict[str, int])
    resets: bool = False
    reloads_sources: bool = True
    records_cpu: bool = False
    caps_memory: bool = False
    report: Callable[[str], None] = _print_line


class LocalRuntime:
    """The embedded runtime of one checkout. Only one process at a time may run it.

    Everything it starts ends with the thread that called `start`, so call it from one that lives on.
    """

    def __init__(self, checkout: Path, options: RuntimeOptions | None = None) -> None:
        self._checkout = checkout.resolve()
        self._options = options or RuntimeOptions()
        self._state = (self._options.state_directory or self._checkout / ".fastn").resolve()
        self._logs = self._state / "logs"
        self._running = ExitStack()
        self._control: ForkServerControl | None = None

    @property
    def control(self) -> ForkServerControl:
        """The running fork server; raises StartFailed before `start`."""
        if self._control is None:
            raise StartFailed("the runtime is not running")
        return self._control

    def start(self) -> Endpoints:
        """Everything up and deployed. On failure everything is stopped again.

        Raises AlreadyRunning, StartFailed or DeployFailed.
        """
        started_at = time.monotonic()
        try:
            endpoints = self._start()
        except BaseException:
            self.stop()
            raise
        self._options.report(f"ready in {time.monotonic() - started_at:.1f} s: {endpoints.api_url}")
        return endpoints

    def stop(self) -> None:
        """Stop in reverse order. Safe to call twice."""
        self._running.close()
        self._control = None

    def erase(self) -> None:
        """Delete everything a stopped runtime keeps: database, logs, ports, digests."""
        self._own_state_directory()
        self._reset()
        self.stop()

    def __enter__(self) -> Endpoints:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> Endpoints:
        self._own_state_directory()
        if self._options.resets:
            with self._stage("reset"):
                self._reset()
        self._prepare_logs()
        chosen = ports.choose(self._state / "ports.json", ["aws", "api", "instant"])
        digests = Digests(self._checkout, self._state / "digests.json")
        database_server = EmbeddedPostgres(
            self._state / "postgres", settings=self._options.postgres_settings, log_path=self._logs / "postgres.log"
        )
        self._running.callback(database_server.stop)  # registered first, so that it stops last
        # Both take a second to load their libraries: meanwhile the database comes up.
        fork_server, socket_path = self._launch_fork_server()
        emulator = self._launch_emulator(chosen, socket_path)
        with self._stage("database"):
            database = database_server.start()
        self._migrate(database, digests, is_new=database_server.is_new)
        assembly = self._synthesize(digests)
        with self._stage("fork server"):
            fork_server.wait_for_socket(socket_path)
            self._control = ForkServerControl(socket_path)
            # Before anything runs: reconciling launches runs that may call a vendor at once.
            self._control.set_loopback_routes(self._options.loopback_routes)
        with self._stage("aws emulator"):
            emulator.wait_for_http(chosen["aws"], HEALTH_PATH)
        endpoints = self._deploy(assembly, database, chosen)
        if self._options.reconcile is not None:
            with self._stage("reconcile"):
                self._options.reconcile(endpoints)
        if self._options.reloads_sources:
            self._watch_sources()
        return endpoints

    def _own_state_directory(self) -> None:
        self._state.mkdir(parents=True, exist_ok=True)
        lock = self._running.enter_context((self._state / LOCK_NAME).open("a+", encoding="utf-8"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            raise AlreadyRunning(f"{self._state} is in use by process {owner}; stop it first") from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()

    def _prepare_logs(self) -> None:
        self._logs.mkdir(exist_ok=True)
        (self._logs / CPU_LOG_NAME).unlink(missing_ok=True)

    def _reset(self) -> None:
        EmbeddedPostgres(self._state / "postgres").erase()
        for entry in self._state.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != LOCK_NAME:
                entry.unlink()

    def _launch_fork_server(self) -> tuple[ServiceProcess, Path]:
        directory = scratch.directory_for(self._state)
        shutil.rmtree(directory, ignore_errors=True)  # what a killed predecessor left
        directory = scratch.directory_for(self._state)
        self._running.callback(shutil.rmtree, directory, ignore_errors=True)
        variables = base_variables(PYTHONPATH=_package_root())
        if self._options.records_cpu:
            variables["FASTN_LOCAL_CPU_LOG"] = str(self._logs / CPU_LOG_NAME)
        socket_path = directory / "fork.sock"
        command = [sys.executable, "-m", "fastn.local.fork_server", str(socket_path), str(os.getpid())]
        process = ServiceProcess("fork server", command, variables, log_path=self._logs / "fork-server.log")
        self._running.callback(process.stop)
        return process, socket_path

    def _launch_emulator(self, chosen: Mapping[str, int], socket_path: Path) -> ServiceProcess:
        scratch_directory = socket_path.parent / "emulator"
        scratch_directory.mkdir()
        variables = base_variables(
            PYTHONPATH=_package_root(),
            TMPDIR=str(scratch_directory),
            GATEWAY_PORT=str(chosen["aws"]),
            BIND_HOST=ports.LOOPBACK,
            IOT_MTLS_ENABLED="0",
            LOG_LEVEL="WARNING",
            FASTN_LOCAL_API_PORT=str(chosen["api"]),
            FASTN_LOCAL_INSTANT_PORT=str(chosen["instant"]),
            FASTN_LOCAL_FORK_SERVER=str(socket_path),
            FASTN_LOCAL_LOGS=str(self._logs),
            FASTN_LOCAL_KEY_SEED=str(self._state / "kms-seed"),
            FASTN_LOCAL_MEMORY_CAP=str(int(self._options.caps_memory)),
            **_time_zone_variables(),
        )
        if self._options.reloads_sources:
            variables["FASTN_LOCAL_SOURCE_ROOT"] = str(self._checkout)
        interpreter = self._checkout / ".venv-ministack" / "bin" / "python"
        command = [str(interpreter), "-m", "fastn.local.ministack_launcher", str(os.getpid())]
        process = ServiceProcess(
            "aws emulator",
            command,
            {**variables, **self._options.emulator_variables},
            log_path=self._logs / "emulator.log",
        )
        self._running.callback(process.kill)
        return process

    def _migrate(self, database: PostgresEndpoint, digests: Digests, *, is_new: bool) -> None:
        if self._options.migrate is None:
            return
        if not is_new and "migrations" not in digests.changed():
            self._options.report("migrations: unchanged")
            return
        with self._stage("migrations"):
            self._options.migrate(database)
        digests.remember(["migrations"])

    def _synthesize(self, digests: Digests) -> Path:
        if self._options.assembly is not None:
            return self._options.assembly
        output = self._state / "cdk.out"
        if not SYNTHESIS_READS & digests.changed() and (output / "manifest.json").exists():
            self._options.report("synth: unchanged")
            return output
        with self._stage("synth"):
            synthesize(self._checkout, output, log_path=self._logs / "synth.log")
        digests.remember(SYNTHESIS_READS)
        return output

    def _deploy(self, assembly: Path, database: PostgresEndpoint, chosen: Mapping[str, int]) -> Endpoints:
        endpoints = Endpoints(
            api_url=f"http://{ports.LOOPBACK}:{chosen['api']}",
            instant_url=f"http://{ports.LOOPBACK}:{chosen['instant']}",
            aws_endpoint_url=f"http://{ports.LOOPBACK}:{chosen['aws']}",
            database=database,
            outputs={},
            log_directory=self._logs,
        )
        with self._stage("deploy"):
            deployment = AssemblyDeployment(assembly, endpoints.aws_endpoint_url)
            per_stack = deployment.run(self._options.parameters(database, endpoints.api_url))
        outputs = {name: value for outputs in per_stack.values() for name, value in outputs.items()}
        return replace(endpoints, outputs=outputs)

    def _watch_sources(self) -> None:
        roots = [path for path in (self._checkout / "functions", self._checkout / "shared") if path.is_dir()]
        if not roots:
            return
        stop = threading.Event()
        watcher = threading.Thread(target=_recycle_on_change, args=(roots, self.control, stop), daemon=True)
        watcher.start()
        self._running.callback(watcher.join, timeout=2)
        self._running.callback(stop.set)

    @contextmanager
    def _stage(self, name: str) -> Generator[None]:
        started_at = time.monotonic()
        yield
        self._options.report(f"{name}: {time.monotonic() - started_at:.2f} s")


def _recycle_on_change(roots: list[Path], control: ForkServerControl, stop: threading.Event) -> None:
    from watchfiles import PythonFilter, watch

    changes = watch(
        *roots,
        watch_filter=PythonFilter(extra_extensions=(".json", ".js", ".sql", ".yaml")),
        debounce=WATCH_DEBOUNCE_MS,
        step=WATCH_DEBOUNCE_MS // 2,
        stop_event=stop,
        rust_timeout=500,
    )
    for _ in changes:
        control.recycle()


def _package_root() -> str:
    """The directory `fastn` is imported from, for the children to import it too."""
    return str(Path(fastn.__file__).resolve().parent.parent)


def _time_zone_variables() -> dict[str, str]:
    """Time zone data for the emulator, which has no `tzdata` of its own, where the system has none."""
    specification = find_spec("tzdata")
    if specification is None or specification.origin is None:
        return {}
    system = [path for path in ("/usr/share/zoneinfo", "/usr/share/lib/zoneinfo") if Path(path).is_dir()]
    return {"PYTHONTZPATH": os.pathsep.join([*system, str(Path(specification.origin).parent / "zoneinfo")])}
