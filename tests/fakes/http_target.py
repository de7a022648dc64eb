"""An HTTP server on loopback that answers as a test tells it, and remembers what it was sent."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Self

from fastn.local.vendors.loopback_server import LoopbackServer, VendorRequest, VendorResponse


class HttpTarget:
    """Answers with what was planned, in order, and then with `{"ok": true}`."""

    def __init__(self, answer: Callable[[VendorRequest], VendorResponse] | None = None) -> None:
        self.received: list[VendorRequest] = []
        self._answer = answer
        self._planned: deque[VendorResponse] = deque()
        self._lock = threading.Lock()
        self._server = LoopbackServer(self._serve)

    @property
    def port(self) -> int:
        """The loopback port it listens on."""
        return self._server.port

    def plan(self, *responses: VendorResponse) -> None:
        """Answers the next requests with these."""
        self._planned.extend(responses)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *failure: object) -> None:
        self._server.__exit__(*failure)

    def _serve(self, request: VendorRequest) -> VendorResponse:
        with self._lock:
            self.received.append(request)
            if self._planned:
                return self._planned.popleft()
        return VendorResponse.of_json({"ok": True}) if self._answer is None else self._answer(request)
