"""A trained model at work: predictions, and exports that other programs load."""
