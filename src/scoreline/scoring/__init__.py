"""What a Python worker does with a batch; nothing here knows of Spark."""
