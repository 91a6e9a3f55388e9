"""What the card system calls; it decides when the server does not."""
