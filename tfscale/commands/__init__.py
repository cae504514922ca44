"""One file for each command, with `main(flags) -> exit code`; `arguments` has the parsers."""
