"""The one place where workflows meet the engine: checking a source by compiling it."""

from pathlib import Path

from fastn.engine.languages import Language
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need, Setting
from fastn.workflows.models import CheckSource


def source_checker(platform: Platform) -> CheckSource:
    """Compiles a source on this process's engine, which is loaded for the first one.

    Raises UndeclaredNeed unless the function declares the engine; the check itself raises ProgramInvalid,
    with line and column.
    """
    platform.require(Need.ENGINE)

    def check(source: str, language: Language) -> None:
        from fastn.engine.artifacts import EngineArtifacts
        from fastn.engine.runs import JavaScriptEngine

        directory = Path(platform.settings[Setting.ENGINE_DIRECTORY])
        engine = platform.keep(JavaScriptEngine, lambda: JavaScriptEngine(EngineArtifacts.load(directory)))
        engine.compile(source, language)

    return check
