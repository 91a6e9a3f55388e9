"""The engine that works: its session, Java, file systems, and what it says when it fails."""
