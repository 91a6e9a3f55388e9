"""What a configuration may say, and the one way it is read."""
