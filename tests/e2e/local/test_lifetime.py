"""The runtime starts once, says what it does, deploys again, and leaves nothing behind when killed."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from fastn.local.deployment import AssemblyDeployment
from fastn.local.errors import AlreadyRunning, DeployFailed
from fastn.local.postgres import PostgresEndpoint
from fastn.local.supervisor import Endpoints, LocalRuntime, RuntimeOptions
from tests.e2e.local.conftest import (
    REPOSITORY,
    Laptop,
    aws_client,
    template_parameters,
    wait_until,
    write_checkout,
)

pytestmark = pytest.mark.e2e

SUPERVISOR = """
import sys
from pathlib import Path
from fastn.local.supervisor import LocalRuntime
from tests.e2e.local.conftest import aws_client
from tests.e2e.local.test_lifetime import write_synthesizing_checkout

checkout, options = write_synthesizing_checkout(Path(sys.argv[1]))
endpoints = LocalRuntime(checkout, options).start()
aws_client("lambda", endpoints.aws_endpoint_url).invoke(FunctionName="echo", Payload="1")
print("up", endpoints.api_url, flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class Killed:
    """A checkout whose supervisor was killed with kill -9, and the processes it had."""

    checkout: Path
    options: RuntimeOptions
    api_url: str
    lines: list[str]
    descendants: list[psutil.Process]
    names: set[str]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killed]:
    directory = tmp_path_factory.mktemp("killed")
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(directory)],
        env={"PYTHONPATH": f"{REPOSITORY / 'shared'}:{REPOSITORY}", "PATH": "/usr/bin:/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with supervisor:
        assert supervisor.stdout is not None
        lines = [supervisor.stdout.readline().strip()]
        while not lines[-1].startswith("up"):
            assert supervisor.poll() is None
            lines.append(supervisor.stdout.readline().strip())
        descendants = psutil.Process(supervisor.pid).children(recursive=True)
        names = {process.name() for process in descendants}
        supervisor.send_signal(signal.SIGKILL)
        supervisor.wait()
    checkout, options = directory / "checkout", synthesizing_options()
    yield Killed(checkout, options, lines[-1].split()[1], lines, descendants, names)
    LocalRuntime(checkout).erase()


def test_killing_the_supervisor_leaves_no_process(killed: Killed) -> None:
    assert "postgres" in killed.names
    assert len(killed.descendants) >= 8  # the emulator, the fork server, an environment, PostgreSQL's own
    wait_until(lambda: not [process for process in killed.descendants if is_alive(process)])


def test_start_after_a_kill_keeps_the_data_and_skips_what_has_not_changed(killed: Killed) -> None:
    lines: list[str] = []

    with LocalRuntime(killed.checkout, replace(killed.options, report=lines.append)) as endpoints:
        migrations = count_migrations(endpoints.database)

    assert not [line for line in killed.lines if line.endswith("unchanged")]
    assert {line for line in lines if line.endswith("unchanged")} == {"synth: unchanged", "migrations: unchanged"}
    assert endpoints.api_url == killed.api_url
    assert migrations == 1


def test_reset_forgets_the_data_and_reconciles_with_the_outputs(killed: Killed) -> None:
    reconciled: list[str] = []

    def reconcile(endpoints: Endpoints) -> None:
        reconciled.append(endpoints.outputs["BusName"])
        with psycopg.connect(endpoints.database.owner_url) as connection:
            connection.execute("INSERT INTO migrations VALUES (2)")

    options = replace(killed.options, resets=True, reconcile=reconcile, report=list[str]().append)
    with LocalRuntime(killed.checkout, options) as endpoints:
        rows = count_migrations(endpoints.database)

    assert reconciled == ["probe"]
    assert rows == 2  # one by the migration of the new database, one by the reconciliation


def test_everything_listens_on_loopback_only(laptop: Laptop) -> None:
    listening = [
        (process.name(), connection.laddr.ip, connection.laddr.port)
        for process in psutil.Process().children(recursive=True)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]

    assert {address for _, address, _ in listening} == {"127.0.0.1"}
    urls = (laptop.endpoints.api_url, laptop.endpoints.instant_url, laptop.endpoints.aws_endpoint_url)
    expected = {urlsplit(url).port for url in urls} | {laptop.endpoints.database.port}
    assert expected <= {port for _, _, port in listening}


def test_second_supervisor_of_one_checkout_is_refused_with_the_owner(laptop: Laptop) -> None:
    with pytest.raises(AlreadyRunning, match="in use by process"):
        LocalRuntime(laptop.checkout, RuntimeOptions(report=list[str]().append)).start()


def test_each_stage_is_reported_with_its_time(laptop: Laptop) -> None:
    stages = [line.partition(":")[0] for line in laptop.started_lines]

    assert stages[:4] == ["database", "fork server", "aws emulator", "deploy"]
    assert all(line.endswith(" s") for line in laptop.started_lines[:4])


def test_deploying_again_keeps_the_outputs(laptop: Laptop) -> None:
    assembly = laptop.checkout.parent / "assembly"
    parameters = {"DatabaseUrl": laptop.endpoints.database.owner_url, "PublicUrl": laptop.endpoints.api_url}

    again = AssemblyDeployment(assembly, laptop.endpoints.aws_endpoint_url).run(parameters)

    assert again["Probe"] == laptop.endpoints.outputs


def test_failed_stack_names_the_resource_and_the_reason(laptop: Laptop, tmp_path: Path) -> None:
    _, options = write_checkout(tmp_path)
    assert options.assembly is not None
    template = options.assembly / "probe.template.json"
    taken = {"ArchiveName": "Probe-Archive", "SourceArn": "arn:aws:events:us-east-1:000000000000:event-bus/probe"}
    broken = {"Resources": {"Bad": {"Type": "AWS::Events::Archive", "Properties": taken}}}
    template.write_text(json.dumps(broken))
    manifest = options.assembly / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"Probe"', '"Broken"'))

    with pytest.raises(DeployFailed, match=r"Bad \(AWS::Events::Archive\).*already exists"):
        AssemblyDeployment(options.assembly, laptop.endpoints.aws_endpoint_url).run({})


def test_parameters_reach_the_template(laptop: Laptop) -> None:
    assert laptop.endpoints.outputs["PublicUrl"] == laptop.endpoints.api_url


def is_alive(process: psutil.Process) -> bool:
    """Whether it still runs; one that ended and waits for init to collect it does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def write_synthesizing_checkout(directory: Path) -> tuple[Path, RuntimeOptions]:
    """A checkout whose CDK command line "synthesizes" the hand-written assembly."""
    checkout, options = write_checkout(directory)
    cdk = checkout / "node_modules" / ".bin" / "cdk"
    cdk.parent.mkdir(parents=True)
    cdk.write_text(f'#!/bin/sh\nmkdir -p "$(dirname "$6")"\ncp -r {options.assembly} "$6"\n')
    cdk.chmod(0o755)
    return checkout, synthesizing_options()


def synthesizing_options() -> RuntimeOptions:
    """Options that synthesize, and migrate by one more row in a table."""
    return RuntimeOptions(parameters=template_parameters, migrate=migrate)


def migrate(database: PostgresEndpoint) -> None:
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS migrations (n int)")
        connection.execute("INSERT INTO migrations VALUES (1)")


def count_migrations(database: PostgresEndpoint) -> int:
    with psycopg.connect(database.owner_url) as connection:
        row = connection.execute("SELECT count(*) FROM migrations").fetchone()
    assert row is not None
    return int(row[0])


def test_what_a_template_key_encrypted_opens_after_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    checkout, options = write_checkout(tmp_path_factory.mktemp("keys"))
    context = {"tenant": "a"}
    first = LocalRuntime(checkout, options)
    with first as endpoints:
        keys = aws_client("kms", endpoints.aws_endpoint_url)
        made = keys.generate_data_key(KeyId=endpoints.outputs["KeyArn"], KeySpec="AES_256", EncryptionContext=context)

    second = LocalRuntime(checkout, options)
    with second as endpoints:
        keys = aws_client("kms", endpoints.aws_endpoint_url)
        opened = keys.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=context)
    second.erase()

    assert opened["Plaintext"] == made["Plaintext"]
