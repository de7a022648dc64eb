"""Frames arrive as they were sent, whatever the socket does to them on the way."""

import socket
import threading
from collections.abc import Iterator

import pytest

from fastn.local import frames


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def test_header_and_payload_arrive_unchanged(ends: tuple[socket.socket, socket.socket]) -> None:
    frames.send(ends[0], {"status": "ok", "n": 1, "text": "é"}, b'{"a":\n1}\0')

    assert frames.receive(ends[1]) == ({"status": "ok", "n": 1, "text": "é"}, b'{"a":\n1}\0')


def test_payload_larger_than_the_socket_buffer_arrives_whole(ends: tuple[socket.socket, socket.socket]) -> None:
    payload = bytes(range(256)) * 30_000
    sender = threading.Thread(target=frames.send, args=(ends[0], {}, payload))
    sender.start()

    received = frames.receive(ends[1])
    sender.join()

    assert received is not None
    assert received.payload == payload


def test_frames_do_not_run_into_each_other(ends: tuple[socket.socket, socket.socket]) -> None:
    for number in range(3):
        frames.send(ends[0], {"n": number})

    received = [frames.receive(ends[1]) for _ in range(3)]

    assert [frame.header["n"] for frame in received if frame] == [0, 1, 2]


@pytest.mark.parametrize("sent", [b"", b"\0\0\0", b"\0\0\0\x02\0\0\0\x05{}abc"])
def test_closed_connection_is_no_frame_even_in_the_middle_of_one(
    ends: tuple[socket.socket, socket.socket], sent: bytes
) -> None:
    ends[0].sendall(sent)
    ends[0].close()

    assert frames.receive(ends[1]) is None


def test_silence_is_a_timeout(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[1].settimeout(0.01)

    with pytest.raises(TimeoutError):
        frames.receive(ends[1])
