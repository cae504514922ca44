"""Keeps a job going: heartbeats, watchdog, restarts, coordinated stops. No TensorFlow."""
