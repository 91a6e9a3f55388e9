"""Delta tables: their columns, their commits, and who may write them."""
