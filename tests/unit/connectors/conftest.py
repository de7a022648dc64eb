"""What connector tests share: the built-in connectors, vendors on loopback, and a clock whose sleep is recorded."""

from collections.abc import Callable, Generator

import pytest

from fastn.connectors.calls import ActionCall, ActionResult, perform_action
from fastn.connectors.catalog import ConnectorCatalog
from fastn.local.vendors.slack import SlackVendor
from fastn.platform.clock import FrozenClock
from fastn.platform.egress import GuardedClient
from tests.fakes.github import GitHubVendor
from tests.fakes.http_target import HttpTarget

Perform = Callable[[ActionCall], ActionResult]


@pytest.fixture
def catalog() -> ConnectorCatalog:
    """The built-in connectors."""
    return ConnectorCatalog()


@pytest.fixture
def slack_vendor() -> Generator[SlackVendor]:
    with SlackVendor() as vendor:
        yield vendor


@pytest.fixture
def github_vendor() -> Generator[GitHubVendor]:
    with GitHubVendor() as vendor:
        yield vendor


@pytest.fixture
def target() -> Generator[HttpTarget]:
    with HttpTarget() as served:
        yield served


@pytest.fixture
def sleeps() -> list[float]:
    """How long each wait was, in seconds."""
    return []


@pytest.fixture
def client(
    slack_vendor: SlackVendor, github_vendor: GitHubVendor, target: HttpTarget, clock: FrozenClock
) -> Generator[GuardedClient]:
    """A client that reaches the stand-ins, and resolves nothing else."""

    def refuse(host: str) -> list[str]:
        raise OSError(f"{host} is not to be resolved")

    routes = {"slack.com": slack_vendor.port, "api.github.com": github_vendor.port, "api.example": target.port}
    guarded = GuardedClient(clock, resolver=refuse, loopback_routes=routes)
    yield guarded
    guarded.close()


@pytest.fixture
def perform(client: GuardedClient, clock: FrozenClock, sleeps: list[float]) -> Perform:
    """Performs an action; waits move the clock and are recorded."""

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        clock.advance(seconds)

    return lambda call: perform_action(call, client, clock=clock, sleep=sleep, jitter=lambda: 1.0)
