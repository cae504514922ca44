"""The shipped Hydra configuration: a package, so that wheels and editable installs carry it."""
