"""One embedded runtime for the whole folder, running the hand-written assembly."""

import json
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from fastn.local.postgres import PostgresEndpoint
from fastn.local.supervisor import Endpoints, LocalRuntime, RuntimeOptions
from tests.e2e.local import assembly_fixture

REPOSITORY = Path(__file__).resolve().parents[3]
DEADLINE_SECONDS = 12.0


@dataclass(frozen=True, slots=True)
class Invoked:
    """What a caller of Lambda sees."""

    error: str | None
    payload: Any


@dataclass(frozen=True, slots=True)
class Laptop:
    """The running runtime and what tests do with it."""

    runtime: LocalRuntime
    endpoints: Endpoints
    checkout: Path
    started_lines: list[str]
    clients: dict[str, Any] = field(default_factory=dict[str, Any])

    def client(self, service: str) -> Any:
        """An AWS client for the emulator; kept, because building one takes 50 ms."""
        if service not in self.clients:
            self.clients[service] = aws_client(service, self.endpoints.aws_endpoint_url)
        return self.clients[service]

    def invoke(self, function: str, event: object = None) -> Invoked:
        """Invoke a function and wait for its answer."""
        answer = self.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event))
        return Invoked(answer.get("FunctionError"), json.loads(answer["Payload"].read()))

    def next_message(self, queue_output: str) -> dict[str, Any]:
        """The next message of the queue an output names, deleted; fails if none comes in time."""
        queues, url = self.client("sqs"), self.endpoints.outputs[queue_output]
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            answer = queues.receive_message(
                QueueUrl=url, WaitTimeSeconds=2, MessageSystemAttributeNames=["All"], MaxNumberOfMessages=1
            )
            for message in answer.get("Messages", []):
                queues.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                return message
        raise AssertionError(f"no message came to {queue_output}")


def aws_client(service: str, endpoint_url: str) -> Any:
    session: Any = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
    return session.client(service, endpoint_url=endpoint_url)


def wait_until(condition: Callable[[], object]) -> None:
    """Return once the condition holds; fails after some seconds."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def write_checkout(directory: Path) -> tuple[Path, RuntimeOptions]:
    """A checkout with the repository's tools, and options that deploy the hand-written assembly."""
    checkout, assembly = assembly_fixture.write(directory)
    (checkout / ".venv-ministack").symlink_to(REPOSITORY / ".venv-ministack")
    return checkout, RuntimeOptions(assembly=assembly, parameters=template_parameters, records_cpu=True)


def template_parameters(database: PostgresEndpoint, api_url: str) -> dict[str, str]:
    """What the template declares, and one name it does not."""
    return {"DatabaseUrl": database.owner_url, "PublicUrl": api_url, "DeclaredNowhere": "ignored"}


@contextmanager
def closing_runtime(runtime: LocalRuntime) -> Generator[None]:
    """Stop a started runtime and delete what it kept."""
    try:
        yield
    finally:
        runtime.stop()
        runtime.erase()


@pytest.fixture(scope="session")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    lines: list[str] = []
    checkout, options = write_checkout(tmp_path_factory.mktemp("laptop"))
    runtime = LocalRuntime(checkout, replace(options, report=lines.append))
    with pytest.MonkeyPatch.context() as shell:
        shell.setenv("SECRET_OF_THE_SHELL", "no function may see this")
        endpoints = runtime.start()
    with closing_runtime(runtime):
        yield Laptop(runtime, endpoints, checkout, lines)
