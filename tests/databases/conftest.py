"""Credentials for the stand-in of DynamoDB, set before a session starts: its workers inherit them."""

import os

for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
    os.environ.setdefault(name, "none")
