"""The pipeline under load on the embedded runtime: throughput, latency, CPU of the functions, memory.

The work is the one the rivals were measured on: one 1 KB order in, one code step, one vendor call of 5 ms,
recorded durably. The load generator, the emulator, PostgreSQL and the functions share this machine's cores.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from fastn.local.cpu_log import cpu_ms_per_function
from fastn.local.demo.api import ApiCaller, CallFailed
from fastn.local.installation import emulator_client
from fastn.local.supervisor import LocalRuntime
from fastn.platform.capabilities import Platform
from tests.bench.figures import Figure, figure, percentiles
from tests.bench.load import Load, from_clients
from tests.load.scene import CUSTOMER, Scene, deliver, new_order_ids, order, wait_until

WARM_UP = 400
PACED_EVENTS = 150
PACED_SECONDS = 0.2
BURST_EVENTS = 600
ACCEPTED_EVENTS = 600
INSTANT_RUNS = 200
CLIENTS = 16
INSERTS = 2_000
DRAIN_SECONDS = 120.0
CHECKOUT = Path(__file__).parents[2]
FIRST_RESPONSE = """
import json, sys, time
started = time.process_time()
sys.path[:0] = [sys.argv[2] + "/shared", sys.argv[2]]
from functions.api.tenants.tenant_id.workflows.list_workflows import handler
answer = handler(json.loads(sys.argv[1]), None)
spent = time.process_time() - started
assert answer["statusCode"] == 200, answer
print(spent * 1000)
"""


@dataclass(slots=True)
class PipelineBench:
    """Measures one running runtime."""

    runtime: LocalRuntime
    platform: Platform
    scene: Scene
    owner_url: str
    aws_endpoint_url: str
    cpu_log: Path

    def measure(self) -> list[Figure]:
        """Every figure of the pipeline, in one run."""
        self._send(new_order_ids(WARM_UP), clients=CLIENTS)
        self._instant(clients=CLIENTS, runs=WARM_UP // 2)
        return [
            *self._first_response(),
            *self._accepted(),
            *self._paced(),
            *self._burst(),
            *self._instants(),
            *self._memory(),
        ]

    def _first_response(self) -> list[Figure]:
        """CPU of a fresh interpreter up to its first answer: imports, connections, models and the work itself."""
        lambda_client = emulator_client("lambda", self.aws_endpoint_url)
        configuration = lambda_client.get_function_configuration(FunctionName="local-list-workflows")
        event = {
            "requestContext": {"requestId": "first"},
            "headers": {"x-fastn-api-key": self.scene.api_key},
            "pathParameters": {"tenant_id": CUSTOMER},
        }
        command = [sys.executable, "-I", "-c", FIRST_RESPONSE, json.dumps(event), str(CHECKOUT)]
        values: list[float] = []
        for _ in range(5):
            outcome = subprocess.run(
                command, env=configuration["Environment"]["Variables"], capture_output=True, text=True, check=True
            )
            values.append(float(outcome.stdout.splitlines()[-1]))
        return [figure("cpu_ms_to_first_response_list_workflows", statistics.median(values), "ms")]

    def _accepted(self) -> list[Figure]:
        plain = self._plain_inserts_per_second()
        load = self._send(new_order_ids(ACCEPTED_EVENTS), clients=CLIENTS)
        return [figure("accepted_webhooks_per_second", load.per_second, "1/s", baseline=plain)]

    def _paced(self) -> list[Figure]:
        ids = new_order_ids(PACED_EVENTS)
        before = cpu_ms_per_function(self.cpu_log)
        caller = self.scene.caller()
        for number, order_id in enumerate(ids):
            due = time.perf_counter() + PACED_SECONDS if number else 0.0
            _post(self.scene, caller, order_id)
            time.sleep(max(0.0, due - time.perf_counter()))
        self._drain()
        spent = _spent(before, cpu_ms_per_function(self.cpu_log))
        return [
            *percentiles(self._latencies_ms(ids), "webhook_to_recorded_paced_ms", "ms"),
            figure("cpu_ms_per_event_paced", sum(spent.values()) / len(ids), "ms"),
            *(figure(f"cpu_ms_per_event_paced.{name}", ms / len(ids), "ms") for name, ms in sorted(spent.items())),
        ]

    def _burst(self) -> list[Figure]:
        ids = new_order_ids(BURST_EVENTS)
        before = cpu_ms_per_function(self.cpu_log)
        self._send(ids, clients=CLIENTS)
        spent = _spent(before, cpu_ms_per_function(self.cpu_log))
        latencies = self._latencies_ms(ids)
        return [
            *percentiles(latencies, "webhook_to_recorded_16_clients_ms", "ms"),
            figure("recorded_per_second_16_clients", len(ids) / self._span_seconds(ids), "1/s"),
            figure("cpu_ms_per_event", sum(spent.values()) / len(ids), "ms"),
            *(figure(f"cpu_ms_per_event.{name}", ms / len(ids), "ms") for name, ms in sorted(spent.items())),
        ]

    def _instants(self) -> list[Figure]:
        alone, together = self._instant(clients=1, runs=INSTANT_RUNS), self._instant(CLIENTS, INSTANT_RUNS * 2)
        return [
            figure("instant_runs_per_second_1_client", alone.per_second, "1/s"),
            figure("instant_run_ms_1_client_p50", statistics.median(alone.call_ms), "ms"),
            figure("instant_runs_per_second_16_clients", together.per_second, "1/s"),
        ]

    def _memory(self) -> list[Figure]:
        environments = [psutil.Process(pid) for pid in self.runtime.control.environment_pids()]
        own = [environment.memory_full_info().uss / 2**20 for environment in environments]
        full = [environment.memory_info().rss / 2**20 for environment in environments]
        return [
            figure("environments", len(environments), "processes"),
            figure("environment_rss_mb_max", max(full), "MB"),
            figure("environment_own_memory_mb_median", statistics.median(own), "MB"),
            figure("environments_own_memory_mb_sum", sum(own), "MB"),
        ]

    def _send(self, order_ids: Sequence[str], *, clients: int) -> Load:
        load = from_clients(
            clients, order_ids, self.scene.caller, lambda caller, order_id: _post(self.scene, caller, order_id)
        )
        self._drain()
        return load

    def _instant(self, clients: int, runs: int) -> Load:
        def run(caller: ApiCaller, order_id: str) -> None:
            caller.call("POST", "/api/v1/order_to_slack_now", {"input": order(order_id)})

        return from_clients(clients, new_order_ids(runs), self.scene.caller, run)

    def _drain(self) -> None:
        if not wait_until(lambda: self._unfinished() == 0, within_seconds=DRAIN_SECONDS):
            raise RuntimeError(f"{self._unfinished()} events were not recorded within {DRAIN_SECONDS:.0f} s")

    def _unfinished(self) -> int:
        with self.platform.database.transaction(self.scene.owner) as session:
            row = session.execute(
                """SELECT count(*) AS waiting FROM events e LEFT JOIN executions x
                       ON x.tenant_id = e.tenant_id AND x.event_id = e.id
                   WHERE x.finished_at IS NULL"""
            ).fetchone()
        return int(row["waiting"]) if row else 0

    def _latencies_ms(self, order_ids: Sequence[str]) -> list[float]:
        with self.platform.database.transaction(self.scene.owner) as session:
            rows = session.execute(
                """SELECT extract(epoch FROM x.finished_at - e.received_at) * 1000 AS ms, x.status
                   FROM events e JOIN executions x ON x.tenant_id = e.tenant_id AND x.event_id = e.id
                   WHERE e.payload ->> 'id' = ANY(%s)""",
                (list(order_ids),),
            ).fetchall()
        failed = [row for row in rows if row["status"] != "completed"]
        if len(rows) != len(order_ids) or failed:
            raise RuntimeError(f"{len(rows)} of {len(order_ids)} events were recorded, {len(failed)} of them failed")
        return [float(row["ms"]) for row in rows]

    def _span_seconds(self, order_ids: Sequence[str]) -> float:
        with self.platform.database.transaction(self.scene.owner) as session:
            row = session.execute(
                """SELECT extract(epoch FROM max(x.finished_at) - min(e.received_at)) AS seconds
                   FROM events e JOIN executions x ON x.tenant_id = e.tenant_id AND x.event_id = e.id
                   WHERE e.payload ->> 'id' = ANY(%s)""",
                (list(order_ids),),
            ).fetchone()
        return float(row["seconds"]) if row else 0.0

    def _plain_inserts_per_second(self) -> float:
        """One row of 1 KB a transaction, from as many connections as there are clients, with the same settings."""
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS plain_inserts (id text PRIMARY KEY, body json NOT NULL)")
            connection.execute("TRUNCATE plain_inserts")
        body = json.dumps(order("plain"))

        def insert(connection: Connection[TupleRow], row_id: str) -> None:
            connection.execute("INSERT INTO plain_inserts VALUES (%s, %s)", (row_id, body))

        load = from_clients(
            CLIENTS, new_order_ids(INSERTS), lambda: psycopg.connect(self.owner_url, autocommit=True), insert
        )
        return load.per_second


def _post(scene: Scene, caller: ApiCaller, order_id: str) -> None:
    status = deliver(scene, caller, order_id)
    if status != 202:
        raise CallFailed(f"the receiver answered {status}")


def _spent(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    spent = {name: total - before.get(name, 0.0) for name, total in after.items()}
    return {name: ms for name, ms in spent.items() if ms > 0}
