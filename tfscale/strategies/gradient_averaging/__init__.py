"""Mean gradients at every step."""
