"""Features of cards and terminals, by night and for training."""
