"""Where published lists are sent: the application's databases, each behind the same few questions."""

from scoreline.destinations.seam import Change, Destination, open_destination

__all__ = ["Change", "Destination", "open_destination"]
