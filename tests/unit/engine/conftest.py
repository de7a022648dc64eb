"""One compiled engine for all tests of a session."""

from pathlib import Path

import pytest

from fastn.engine.artifacts import EngineArtifacts
from fastn.engine.languages import Language
from fastn.engine.precompile import precompile
from fastn.engine.runs import JavaScriptEngine
from tests.unit.engine.driving import Driver


@pytest.fixture(scope="session")
def artifacts_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("engine")
    precompile(directory)
    return directory


@pytest.fixture(scope="session")
def artifacts(artifacts_directory: Path) -> EngineArtifacts:
    return EngineArtifacts.load(artifacts_directory)


@pytest.fixture(scope="session")
def engine(artifacts: EngineArtifacts) -> JavaScriptEngine:
    return JavaScriptEngine(artifacts)


@pytest.fixture(scope="session")
def javascript(engine: JavaScriptEngine) -> Driver:
    return Driver(engine)


@pytest.fixture(scope="session")
def typescript(engine: JavaScriptEngine) -> Driver:
    return Driver(engine, Language.TYPESCRIPT)
