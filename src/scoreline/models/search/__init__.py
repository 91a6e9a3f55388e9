"""Exact search for the best items: each kernel gives what a full sort would."""
