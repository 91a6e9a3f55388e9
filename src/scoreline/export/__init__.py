"""Published rows to the application's database."""
