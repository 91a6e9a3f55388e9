"""Where published lists are sent: the application's databases, each behind the same few questions."""

from scoreline.destinations.rows import Sent
from scoreline.destinations.seam import Change, Destination, Shown, open_destination

__all__ = ["Change", "Destination", "Sent", "Shown", "open_destination"]
