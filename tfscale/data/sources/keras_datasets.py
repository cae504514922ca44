"""Source for keras.datasets, which downloads a data set at its first use and keeps it in Keras's own folder."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import numpy as np

from tfscale.data.base import Arrays
from tfscale.errors import UserError, first_line

Name: TypeAlias = Literal["mnist", "fashion_mnist", "cifar10", "cifar100", "imdb", "reuters", "california_housing"]

CLASSES: Mapping[str, int] = MappingProxyType(
    {"mnist": 10, "fashion_mnist": 10, "cifar10": 10, "cifar100": 100, "imdb": 2, "reuters": 46}
)

MARKS = ("", "[START]", "[UNK]", "[UNUSED]")
"""Meanings of the first ids: Keras moves those of words by three, and 0 fills up."""

HOUSING_COLUMNS = (
    *("longitude", "latitude", "housing_median_age", "total_rooms"),
    *("total_bedrooms", "population", "households", "median_income"),
)


def keras_datasets(*, name: Name, length: int, vocabulary: int) -> Arrays:
    """Returns the training and test examples: images [N, height, width, channels] uint8, ids [N, length], or columns.

    Args:
        name: Of the data set.
        length: Words of a text of imdb and reuters; zeros fill up in front, and a longer text is cut to its beginning.
        vocabulary: Most ids of imdb and reuters.

    Raises:
        UserError: The data set cannot be downloaded, or is damaged.
    """
    import keras

    module = getattr(keras.datasets, name)
    if name in ("imdb", "reuters"):
        return _texts(name, module, length, vocabulary)
    (x_train, y_train), (x_test, y_test) = _loaded(name, module.load_data)
    if name == "california_housing":
        columns = HOUSING_COLUMNS if x_train.shape[1:] == (len(HOUSING_COLUMNS),) else None
        return Arrays(x_train, y_train, x_test, y_test, columns=columns)
    images = (x[..., np.newaxis] if x.ndim == 3 else x for x in (x_train, x_test))
    x_train, x_test = images
    return Arrays(x_train, y_train.reshape(len(y_train)), x_test, y_test.reshape(len(y_test)), classes=CLASSES[name])


def _texts(name: str, module: Any, length: int, vocabulary: int) -> Arrays:
    from keras.utils import pad_sequences

    (x_train, y_train), (x_test, y_test) = _loaded(name, lambda: module.load_data(num_words=vocabulary))
    index: dict[str, int] = _loaded(name, module.get_word_index)
    words = dict.fromkeys(range(vocabulary), "") | {place + 3: word for word, place in index.items()}
    names = (*MARKS, *(words[place] for place in range(len(MARKS), vocabulary)))[:vocabulary]
    rows = (pad_sequences(x, length, dtype="int32", padding="pre", truncating="post") for x in (x_train, x_test))
    x_train, x_test = rows
    return Arrays(x_train, y_train, x_test, y_test, classes=CLASSES[name], vocabulary=vocabulary, columns=tuple(names))


def _loaded(name: str, load: Callable[[], Any]) -> Any:
    """Returns what Keras loads; what it raises depends on where it fails."""
    try:
        return load()
    except Exception as error:
        raise UserError(
            f"keras.datasets.{name} cannot be loaded ({first_line(error)}); connect to the network, or copy its files "
            "to ~/.keras/datasets"
        ) from error
