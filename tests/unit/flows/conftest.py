"""Flows on the real engine."""

from pathlib import Path

import pytest

from fastn.engine.artifacts import EngineArtifacts
from fastn.engine.runs import JavaScriptEngine
from tests.unit.engine.driving import Driver


@pytest.fixture(scope="session")
def driver(engine_directory: Path) -> Driver:
    """Runs programs on one engine."""
    return Driver(JavaScriptEngine(EngineArtifacts.load(engine_directory)))
