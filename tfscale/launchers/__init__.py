"""Launchers: start the processes of a job and wait for their end. No TensorFlow: a parent must not hang in it."""
