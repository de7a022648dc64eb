"""What can go wrong with connections beyond the common tree."""

from fastn.errors import DatasourceError


class NotConnected(DatasourceError):
    """The customer has no such connection; the message says which one to make."""
