"""One file a subcommand; each has `main(words) -> exit code`."""
