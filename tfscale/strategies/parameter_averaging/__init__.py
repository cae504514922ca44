"""Mean parameters every K steps."""
