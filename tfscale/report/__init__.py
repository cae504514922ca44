"""One self-contained HTML page about runs: a run, a comparison, a sweep. No TensorFlow."""
