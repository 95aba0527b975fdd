"""The transports by name. A new one is a file beside `uftp.py` and a line here."""

from __future__ import annotations

from testbed.errors import RequestError
from testbed.transfer.base import Transport
from testbed.transfer.http import Http
from testbed.transfer.uftp import Uftp

TRANSPORTS: dict[str, Transport] = {transport.name: transport for transport in (Uftp(), Http())}


def transport(name: str) -> Transport:
    """The transport of that name. Raises RequestError."""
    try:
        return TRANSPORTS[name]
    except KeyError:
        known = ", ".join(sorted(TRANSPORTS))
        raise RequestError(f"there is no transport {name!r}; there is: {known}") from None
