"""Run directories, their events, summaries and plots. No TensorFlow."""
