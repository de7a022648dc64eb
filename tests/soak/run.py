"""Kill -9 of the whole embedded runtime at random moments under load: nothing accepted may be lost.

`python -m tests.soak.run` posts 200 webhooks, kills every process of the runtime ten times meanwhile,
restarts it each time, and accounts for every event, execution and vendor call at the end. A sender
repeats a delivery that was not answered with 202, as vendors do. Exit status 1 if anything is missing.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

import click

from fastn.local.demo.api import ApiCaller
from fastn.local.vendors.slack import SlackVendor
from fastn.platform.scope import Scope
from tests.load.scene import Scene, deliver, new_order_ids, set_scene, wait_until
from tests.soak.runtime import KillableRuntime

FINISH_WITHIN_SECONDS = 180.0


@dataclass(slots=True)
class Account:
    """What was sent and what became of it."""

    accepted: set[str] = field(default_factory=set[str])
    repeated_posts: int = 0
    kills: list[float] = field(default_factory=list[float])


def main() -> int:
    """Runs the soak and prints its account as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--webhooks", type=int, default=200)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    options = parser.parse_args()
    chance = random.Random(options.seed)  # moments to kill at, not secrets
    click.echo(f"seed {options.seed}", err=True)
    with tempfile.TemporaryDirectory(prefix="fastn-soak-") as folder, SlackVendor() as slack:
        runtime = KillableRuntime(Path(folder) / "state", slack.port)
        try:
            runtime.start()
            scene = set_scene(runtime.platform(), runtime.api_url)
            account = _send_and_kill(runtime, scene, options.webhooks, options.kills, chance)
            report = _settle(runtime, scene, slack, account, options.webhooks)
        finally:
            runtime.kill()
    click.echo(json.dumps({"seed": options.seed, **report}, indent=2))
    return 0 if report["ok"] else 1


def _send_and_kill(runtime: KillableRuntime, scene: Scene, webhooks: int, kills: int, chance: random.Random) -> Account:
    account = Account()
    order_ids = new_order_ids(webhooks)
    sender = threading.Thread(target=_send_all, args=(runtime, scene, order_ids, account), daemon=True)
    sender.start()
    # Each kill comes after its share of the deliveries, at a random moment of what they set in motion.
    for number in range(kills):
        share = webhooks * (number + 1) // (kills + 1)
        wait_until(lambda: len(account.accepted) >= share, within_seconds=120, poll_seconds=0.005)  # noqa: B023  # called at once
        time.sleep(chance.uniform(0.0, 1.0))
        runtime.kill()
        account.kills.append(round(time.time(), 3))
        runtime.start()
        click.echo(f"kill {number + 1}: {len(account.accepted)} accepted so far", err=True)
    sender.join()
    return account


def _send_all(runtime: KillableRuntime, scene: Scene, order_ids: list[str], account: Account) -> None:
    for order_id in order_ids:
        while order_id not in account.accepted:
            with suppress(OSError, HTTPException), closing(ApiCaller(runtime.api_url)) as caller:
                if deliver(scene, caller, order_id) == 202:
                    account.accepted.add(order_id)
                    break
            account.repeated_posts += 1
            time.sleep(0.1)
        time.sleep(0.02)


def _settle(
    runtime: KillableRuntime, scene: Scene, slack: SlackVendor, account: Account, webhooks: int
) -> dict[str, Any]:
    wait_until(lambda: _counts(runtime, scene.owner)["completed"] >= webhooks, within_seconds=FINISH_WITHIN_SECONDS)
    counts = _counts(runtime, scene.owner)
    told = Counter(
        str(call.arguments.get("text", "")).split(" ")[1]
        for call in slack.calls("chat.postMessage")
        if call.error is None
    )
    missing = [order_id for order_id in account.accepted if told[order_id] == 0]
    return {
        "ok": counts == {"events": webhooks, "executions": webhooks, "completed": webhooks, "outbox": 0}
        and not missing,
        "webhooks": webhooks,
        "accepted": len(account.accepted),
        "kills": len(account.kills),
        "posts_repeated_by_the_sender": account.repeated_posts,
        **counts,
        "vendor_calls_lost": len(missing),
        "vendor_calls_repeated": sum(count - 1 for count in told.values()),
    }


def _counts(runtime: KillableRuntime, owner: Scope) -> dict[str, int]:
    with runtime.platform().database.transaction(owner) as session:
        row = session.execute(
            """SELECT (SELECT count(*) FROM events) AS events, (SELECT count(*) FROM outbox) AS outbox,
                      (SELECT count(*) FROM executions) AS executions,
                      (SELECT count(*) FROM executions WHERE status = 'completed') AS completed"""
        ).fetchone()
    return {name: int(row[name]) for name in ("events", "executions", "completed", "outbox")} if row else {}


if __name__ == "__main__":
    sys.exit(main())
