"""Trackers of a run: console, metrics.jsonl, TensorBoard, all behind `base.Tracker`."""
