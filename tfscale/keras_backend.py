"""The backend of Keras must be TensorFlow; it is chosen before Keras is imported."""

import os

from tfscale.errors import UserError


def require() -> None:
    """Chooses TensorFlow, unless the user has chosen.

    Raises:
        UserError: The user has chosen another backend.
    """
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # before ~/.keras/keras.json
    if backend != "tensorflow":
        raise UserError(f"KERAS_BACKEND must be tensorflow, got {backend}; type: unset KERAS_BACKEND")
