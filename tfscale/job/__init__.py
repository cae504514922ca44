"""From a checked configuration to the end of a run: the only place where classes are chosen and built."""
