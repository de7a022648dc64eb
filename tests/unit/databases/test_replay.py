"""Statements of a run that another process goes on with."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from fastn.databases.rules import only_reads
from fastn.databases.service import DatabaseTools
from fastn.engine.artifacts import EngineArtifacts
from fastn.engine.runs import JavaScriptEngine
from fastn.executions.database_calls import DATABASE_OPERATION, DatabaseSessions
from fastn.executions.hosting import RunHost
from fastn.executions.masking import UsedSecrets
from fastn.executions.models import Outcome, RunnableExecution, Yielded
from fastn.executions.running import Runner
from fastn.executions.stopping import StopSignal
from fastn.platform.clock import FrozenClock
from fastn.platform.database import Database
from fastn.platform.scope import Scope
from tests.unit.executions.staging import Stage, ToldHost

SOURCE = """export default async function main() {
  await fastn.db.query(`CREATE TABLE IF NOT EXISTS seen (id SERIAL PRIMARY KEY, name TEXT)`);
  const added = await fastn.db.query(`INSERT INTO seen (name) VALUES ($1) RETURNING id`, ["first"]);
  let refused;
  try { await fastn.db.query("SET ROLE postgres"); } catch (error) { refused = error.name; }
  try {
    await fastn.db.query("SELECT nothing");
  } catch (error) {
    refused += " " + error.details.datasourceDebug.sqlstate;
  }
  await fastn.sleep(60000);
  const all = await fastn.db.query("SELECT count(*) AS n FROM seen");
  return [added.rows[0].id, all.rows[0].n, refused];
}"""


def test_resumed_run_is_told_the_journaled_result_and_runs_no_statement_again(
    database: Database, customer: Scope, clock: FrozenClock, engine_directory: Path, tools: DatabaseTools
) -> None:
    engine = JavaScriptEngine(EngineArtifacts.load(engine_directory))
    stage = Stage(database, customer, clock, engine, ToldHost(clock))
    sessions = DatabaseSessions(lambda: tools, clock)

    def host_of(execution: RunnableExecution, until: datetime, stop: StopSignal) -> RunHost:
        deadline_seconds = clock.monotonic_seconds() + (until - clock.now()).total_seconds()
        return RunHost({DATABASE_OPERATION: sessions.for_run(execution, deadline_seconds)}, UsedSecrets())

    runner = Runner(database, engine, host_of, clock, sleep=clock.advance)
    reference = stage.execution(SOURCE, timeout_seconds=600)
    parted = runner.run(reference, yield_at=clock.now() + timedelta(seconds=10))
    clock.advance(61)
    ended = runner.run(reference)

    assert isinstance(parted, Yielded)
    assert isinstance(ended, Outcome)
    assert json.loads(ended.output_json or "null") == [1, 1, "StatementRefused 42703"], ended.error_json
    sessions.for_run(None, 0)  # pyright: ignore[reportArgumentType]  # the next run's, whatever it is


@pytest.mark.parametrize(
    ("sql", "reads"),
    [("SELECT 1", True), ("WITH a AS (DELETE FROM b RETURNING 1) SELECT * FROM a", False), ("DROP TABLE a", False),
     ("SELEC", False)],
)  # fmt: skip
def test_only_a_statement_that_changes_nothing_counts_as_read(sql: str, reads: bool) -> None:
    assert only_reads(sql) is reads
