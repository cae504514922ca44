"""One file a subcommand, each with `main(words) -> exit code`; `rank`, `evaluation` and `failure` need TensorFlow."""
