"""A caller of the product's own HTTP API on loopback, as a customer's backend would be one."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 60.0


class CallFailed(Exception):
    """The API answered with an error; the message holds its words."""


@dataclass(slots=True)
class ApiCaller:
    """Calls one API with one key, over one kept-alive connection."""

    api_url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    _connection: http.client.HTTPConnection | None = None

    def call(self, method: str, path: str, body: object = None) -> Any:  # JSON
        """The answer's JSON. Raises CallFailed for any status of 400 or more."""
        text = None if body is None else json.dumps(body).encode()
        status, answer = self.send(method, path, text, {"content-type": "application/json"} if text else {})
        if status >= 400:
            raise CallFailed(f"{method} {path} answered {status}: {answer.decode(errors='replace')}")
        return json.loads(answer) if answer else None

    def send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body of the answer."""
        parts = urlsplit(self.api_url)
        if self._connection is None:
            self._connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_SECONDS)
        try:
            self._connection.request(method, parts.path + path, body, {**self.headers, **headers})
            response = self._connection.getresponse()
            return response.status, response.read()
        except (http.client.HTTPException, OSError):
            self.close()
            raise

    def close(self) -> None:
        """Ends the connection; the caller may be used again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
