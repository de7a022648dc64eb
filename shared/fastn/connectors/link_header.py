"""The Link header field (RFC 8288), as far as paging needs it."""

from __future__ import annotations

import re

_LINK = re.compile(r"<([^<>]*)>((?:\s*;\s*[a-zA-Z*]+\s*=\s*(?:\"[^\"]*\"|[^\s\",;]+))*)\s*(?:,|$)")
_RELATION = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|([^\s\",;]+))", re.IGNORECASE)
_MAX_CHARACTERS = 8192


def next_link(header: str) -> str | None:
    """The target of the link whose relation is `next`; None if there is none."""
    for target, parameters in _LINK.findall(header[:_MAX_CHARACTERS]):
        relation = _RELATION.search(parameters)
        if relation is not None and "next" in (relation[1] or relation[2] or "").lower().split():
            return str(target)
    return None
