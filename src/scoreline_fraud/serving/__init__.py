"""What travels inside the model: a transaction in, allow, review or deny out. It needs nothing of this project."""
