"""Ports are chosen free and stay the same while they are."""

import socket
from pathlib import Path

from fastn.local import ports


def test_ports_are_distinct_and_remembered(tmp_path: Path) -> None:
    memory = tmp_path / "state" / "ports.json"

    first = ports.choose(memory, ["aws", "api"])
    second = ports.choose(memory, ["aws", "api"])

    assert first == second
    assert len(set(first.values())) == 2


def test_port_somebody_else_took_is_replaced_and_the_other_kept(tmp_path: Path) -> None:
    memory = tmp_path / "ports.json"
    first = ports.choose(memory, ["aws", "api"])

    with socket.socket() as taken:
        taken.bind((ports.LOOPBACK, first["aws"]))
        taken.listen()
        second = ports.choose(memory, ["aws", "api"])

    assert second["aws"] != first["aws"]
    assert second["api"] == first["api"]


def test_damaged_memory_is_forgotten(tmp_path: Path) -> None:
    memory = tmp_path / "ports.json"
    for damaged in ("", "[1]", '{"aws": "x"}'):
        memory.write_text(damaged)

        assert ports.is_free(ports.choose(memory, ["aws"])["aws"])
