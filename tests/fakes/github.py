"""A stand-in for GitHub's REST API on loopback, for tests: it refuses what GitHub refuses.

Facts: https://docs.github.com/en/rest (401 Bad credentials, 404, 422 with errors, Link paging, 403 with
X-RateLimit-Remaining: 0; a User-Agent is required).
"""

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self, cast

from fastn.local.vendors.loopback_server import LoopbackServer, VendorRequest, VendorResponse

GITHUB_TOKEN = "ghp_local1fastn"
_ISSUES = re.compile(r"/repos/(?P<repository>[\w.-]+/[\w.-]+)/issues(/(?P<number>[0-9]+)(?P<comments>/comments)?)?")


@dataclass(slots=True)
class GitHubVendor:
    """One repository, `acme/shop`, with as many issues as it is told to have."""

    issues: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    comments: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    received: list[VendorRequest] = field(default_factory=list[VendorRequest])
    remaining_calls: int = 5000
    reset_at: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    _server: LoopbackServer | None = None

    @property
    def port(self) -> int:
        """The loopback port it listens on."""
        assert self._server is not None
        return self._server.port

    def __enter__(self) -> Self:
        self._server = LoopbackServer(self._answer)
        self._server.__enter__()
        return self

    def __exit__(self, *failure: object) -> None:
        assert self._server is not None
        self._server.__exit__(*failure)

    def _answer(self, request: VendorRequest) -> VendorResponse:
        with self.lock:
            self.received.append(request)
            return self._refusal(request) or self._carry_out(request)

    def _refusal(self, request: VendorRequest) -> VendorResponse | None:
        if not request.headers.get("user-agent"):
            return _error(403, "Request forbidden by administrative rules.")
        if request.headers.get("authorization") != f"Bearer {GITHUB_TOKEN}":
            return _error(401, "Bad credentials")
        if self.remaining_calls <= 0:
            headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(self.reset_at)}
            return _error(403, "API rate limit exceeded", headers)
        self.remaining_calls -= 1
        return None

    def _carry_out(self, request: VendorRequest) -> VendorResponse:
        if request.path == "/user":
            return VendorResponse.of_json({"login": "octo", "id": 1})
        if request.path == "/repos/acme/shop":
            return VendorResponse.of_json({"full_name": "acme/shop", "private": True})
        found = _ISSUES.fullmatch(request.path)
        if found is None or found["repository"] != "acme/shop":
            return _error(404, "Not Found")
        if found["number"] is None:
            return self._list(request) if request.method == "GET" else self._create(request)
        issue = next((issue for issue in self.issues if str(issue["number"]) == found["number"]), None)
        if issue is None:
            return _error(404, "Not Found")
        return self._comment(request) if found["comments"] else VendorResponse.of_json(issue)

    def _create(self, request: VendorRequest) -> VendorResponse:
        body = cast(Mapping[str, object], request.json())
        if not body.get("title"):
            detail = {"errors": [{"resource": "Issue", "field": "title", "code": "missing_field"}]}
            return VendorResponse.of_json({"message": "Validation Failed", **detail}, status=422)
        issue = {"number": len(self.issues) + 1, "state": "open", **body}
        self.issues.append(issue)
        return VendorResponse.of_json(issue, status=201)

    def _comment(self, request: VendorRequest) -> VendorResponse:
        comment = {"id": len(self.comments) + 1, **cast(Mapping[str, object], request.json())}
        self.comments.append(comment)
        return VendorResponse.of_json(comment, status=201)

    def _list(self, request: VendorRequest) -> VendorResponse:
        size, page = int(request.query.get("per_page", "30")), int(request.query.get("page", "1"))
        if size > 100:
            return _error(422, "per_page is at most 100")
        listed = self.issues[(page - 1) * size : page * size]
        headers: dict[str, str] = {}
        if page * size < len(self.issues):
            # The real API names the repository by number here: another path than the one that was asked.
            link = f"https://api.github.com/repositories/7/issues?per_page={size}&page={page + 1}"
            headers["Link"] = f'<{link}>; rel="next", <{link}9>; rel="last"'
        return VendorResponse(200, json.dumps(listed).encode(), {"Content-Type": "application/json", **headers})


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> VendorResponse:
    return VendorResponse.of_json({"message": message}, status=status, headers=headers)
