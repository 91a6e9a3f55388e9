"""A worker that leaves answers the connections that it has accepted.

uvicorn closes each connection without a request at work as soon as it is told to stop. A client that has connected and
whose request is on its way gets a reset: one failed payment in some thousand at each swap. The class below gives such
a connection a moment for its first request.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.auto import AutoHTTPProtocol

__all__ = ["PATIENCE_S", "Patient"]

PATIENCE_S: Final = 1.0
_Protocol: Any = AutoHTTPProtocol  # httptools' or h11's, chosen when it is imported


class Patient(_Protocol):  # type: ignore[misc]
    """uvicorn's protocol; a connection that has not asked yet is closed `PATIENCE_S` after the stop, not at once."""

    def shutdown(self) -> None:
        """Called once per connection when the worker is told to stop."""
        if self.cycle is None:
            asyncio.get_running_loop().call_later(PATIENCE_S, super().shutdown)
        else:
            super().shutdown()
