"""Delta tables: their columns, their commits, and who may write them."""

import os

# delta-rs takes it when it is imported; of what goes wrong it tells us, and we tell the user
os.environ.setdefault("RUST_LOG", "error")
