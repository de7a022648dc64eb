"""A stage with the real engine."""

from pathlib import Path

import pytest

from fastn.engine.artifacts import EngineArtifacts
from fastn.engine.runs import JavaScriptEngine
from fastn.platform.clock import FrozenClock
from fastn.platform.database import Database
from fastn.platform.scope import Scope
from tests.unit.executions.staging import Stage, ToldHost


@pytest.fixture(scope="session")
def engine(engine_directory: Path) -> JavaScriptEngine:
    """One engine for all runs, as in a warm process."""
    return JavaScriptEngine(EngineArtifacts.load(engine_directory))


@pytest.fixture
def stage(database: Database, customer: Scope, clock: FrozenClock, engine: JavaScriptEngine) -> Stage:
    """The customer's stage."""
    return Stage(database, customer, clock, engine, ToldHost(clock))
