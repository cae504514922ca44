"""The training loop and what it needs: replicas, evaluation, checkpoints."""
