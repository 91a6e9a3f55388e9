"""Where published lists are sent: the application's databases, each behind the same few questions."""

from scoreline.export.destinations.opening import open_destination
from scoreline.export.destinations.protocol import Change, Destination, Shown
from scoreline.export.destinations.rows import Sent

__all__ = ["Change", "Destination", "Sent", "Shown", "open_destination"]
