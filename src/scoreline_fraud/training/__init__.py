"""A model from transactions: simulated or yours, compared, compiled, logged."""
