"""The cloud, the functions in it, the customers these tests speak of, and the vendor they call."""

from collections.abc import Generator
from pathlib import Path

import pytest

from fastn.engine.artifacts import EngineArtifacts
from fastn.engine.runs import JavaScriptEngine
from fastn.local.vendors.slack import LOCAL_TOKEN, SlackVendor
from fastn.platform.clock import FrozenClock
from fastn.platform.resources import Setting
from tests.foundation.platforms import PlatformFor
from tests.integration.events.cloud import Cloud, Functioning, cloud, pipeline_clients, projection
from tests.integration.events.scene import Scene, default_scene, scene, stranger

__all__ = ["cloud", "default_scene", "pipeline_clients", "projection", "scene", "stranger"]


@pytest.fixture(scope="session")
def engine(engine_directory: Path) -> JavaScriptEngine:
    """One engine for every function, as each has one for all of its events."""
    return JavaScriptEngine(EngineArtifacts.load(engine_directory))


@pytest.fixture
def slack() -> Generator[SlackVendor]:
    """Slack, as far as these tests go."""
    with SlackVendor() as vendor:
        yield vendor


@pytest.fixture
def functions(
    cloud: Cloud,
    platform_for: PlatformFor,
    clock: FrozenClock,
    slack: SlackVendor,
    engine: JavaScriptEngine,
    engine_directory: Path,
) -> Generator[Functioning]:
    """Calls functions that run workflows; slack.com is the vendor here."""
    settings: dict[str, str] = {Setting.ENGINE_DIRECTORY: str(engine_directory)}
    functioning = Functioning(cloud, platform_for, clock, settings, {"slack.com": slack.port})
    functioning.shared[JavaScriptEngine] = engine
    yield functioning
    functioning.close()


@pytest.fixture
def connected(scene: Scene) -> Scene:
    """The customer, with a connection to Slack in production."""
    scene.connect("slack", {"access_token": LOCAL_TOKEN})
    return scene
