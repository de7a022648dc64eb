"""How an outbound call fails before, while and after it is sent.

Rejected
├── EgressRefused        the guard will not send this request at all
└── ResponseTooLarge     the answer is over the caller's limit
Unavailable
└── NotSent              no connection could be made: nothing reached the other side
"""

from fastn.errors import Rejected, Unavailable


class EgressRefused(Rejected):
    """The guard refuses to send the request; nothing was dialled for this hop."""


class ResponseTooLarge(Rejected):
    """The answer's body is over the limit; the request itself was carried out."""


class NotSent(Unavailable):
    """No connection could be made, so the request was certainly not carried out: a repeat is safe."""
