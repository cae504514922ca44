"""The shipped recipes: `recipe=NAME` selects NAME.yaml."""
