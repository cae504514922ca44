"""From a replica's contribution to a message, and from all messages to their sum: natively, or in plain TensorFlow."""
