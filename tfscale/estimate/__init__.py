"""Predicts how a job scales over a link: pure arithmetic on what was measured, without TensorFlow."""
