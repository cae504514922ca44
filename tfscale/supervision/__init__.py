"""Keeps a job running: heartbeats, watchdog, restarts, coordinated stops. No TensorFlow."""
