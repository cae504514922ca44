"""Tasks: what a model predicts, its loss and metrics, and the output layer that fits them. One file a task."""
