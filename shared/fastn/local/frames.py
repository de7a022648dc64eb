"""The wire between the executor, the fork server and its environments: a JSON header and a raw payload.

A frame is two big-endian lengths, the header, the payload. The payload stays bytes all the way, so an event
of 6 MB is never encoded twice. Standard library alone: this module runs in the emulator's interpreter too.
"""

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

_LENGTHS = struct.Struct("!II")


class Frame(NamedTuple):
    """One message: what it is about, and the bytes it carries."""

    header: dict[str, Any]
    payload: bytes


def send(connection: socket.socket, header: Mapping[str, object], payload: bytes = b"") -> None:
    """Send one frame whole; raises OSError if the peer has gone."""
    encoded = json.dumps(header).encode()
    connection.sendall(_LENGTHS.pack(len(encoded), len(payload)) + encoded + payload)


def receive(connection: socket.socket) -> Frame | None:
    """The next frame, or None if the peer closed the connection. Raises TimeoutError as the socket does."""
    lengths = _receive_exactly(connection, _LENGTHS.size)
    if lengths is None:
        return None
    header_bytes, payload_bytes = _LENGTHS.unpack(lengths)
    header = _receive_exactly(connection, header_bytes)
    payload = _receive_exactly(connection, payload_bytes)
    if header is None or payload is None:
        return None
    return Frame(json.loads(header), payload)


def _receive_exactly(connection: socket.socket, size_bytes: int) -> bytes | None:
    buffer = bytearray(size_bytes)
    view = memoryview(buffer)
    received = 0
    while received < size_bytes:
        try:
            count = connection.recv_into(view[received:])
        except ConnectionResetError:
            return None
        if count == 0:
            return None
        received += count
    return bytes(buffer)
