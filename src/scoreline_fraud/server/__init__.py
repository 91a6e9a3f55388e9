"""`mlflow models serve` around the model: its settings, what it loads, its contract."""
