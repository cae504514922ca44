"""Source for texts: files in folders, or a column of a table, tokenised into rows of ids.

Keras's TextVectorization makes the tokens, so that an exported model can hold the same layer; its vocabulary, from the
training examples alone, is kept as the names of the ids. Rows are filled up in front, unlike that layer's: the shipped
recurrent network and transformer read the last position, which must be the text's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from tfscale.data.base import Arrays, Split
from tfscale.data.encoding import Tokens
from tfscale.data.preprocessing import Preprocessing
from tfscale.data.sources import table_files, text_files
from tfscale.data.sources.text_files import Texts
from tfscale.errors import UserError
from tfscale.specs import ArraySpec

if TYPE_CHECKING:
    import keras

Unit: TypeAlias = Literal["words", "characters"]

_CHUNK = 4096
"""Texts that are tokenised at a time."""


def check(
    *,
    folder: str | None,
    file: str | None,
    text: str,
    label: str | None,
    validation_file: str | None,
    test_file: str | None,
    tokens: str,
    vocabulary: int,
    length: int,
    on_error: str,
) -> None:
    """Checks that the files exist, and that a table has the columns.

    Raises:
        UserError: Neither or both of `folder` and `file` are given, a file is missing, or a table lacks a column.
    """
    if (folder is None) == (file is None):
        got = "neither" if folder is None else "both"
        raise UserError(
            "data must have either data.folder, a folder of .txt files, or data.file, a table, for data=text, got "
            f"{got}; type data.folder=PATH"
        )
    if folder is None:
        wanted = {"text": text} | ({} if label is None else {"label": label})
        for key, each in _tables(file, validation_file, test_file).values():
            table_files.require_columns(key, each, wanted)
        return
    if validation_file is not None or test_file is not None:
        raise UserError(
            "data.validation_file and data.test_file must be null for a folder; put the texts below train/, "
            "validation/ and test/"
        )
    text_files.paths(folder, labelled=label is not None)


def _tables(file: str | None, validation_file: str | None, test_file: str | None) -> dict[Split, tuple[str, str]]:
    """Returns key and path of each table."""
    named = {
        Split.TRAIN: ("data.file", file),
        Split.VALIDATION: ("data.validation_file", validation_file),
        Split.TEST: ("data.test_file", test_file),
    }
    return {split: (key, path) for split, (key, path) in named.items() if path is not None}


def text(
    *,
    folder: str | None,
    file: str | None,
    text: str,
    label: str | None,
    validation_file: str | None,
    test_file: str | None,
    tokens: Unit,
    vocabulary: int,
    length: int,
    on_error: Literal["error", "skip"],
    learned: Preprocessing | None = None,
) -> Arrays:
    """Returns x [N, length] int32, ids of tokens, and y, the label of each text; or windows without labels.

    Id 0 fills a row up in front, id 1 is a token outside the vocabulary. A longer text is cut to its beginning. Without
    a label the texts of a split are joined in their order and cut into windows; y [N, length] is the token after each.

    With `learned`, of the run that reads the texts later, they get its vocabulary, and need no label.

    Args:
        folder: With a folder of .txt files for each class; without a label, with .txt files.
        file: A table instead.
        text: Column of the texts.
        label: Column of the labels; None for windows.
        validation_file: A table of validation examples.
        test_file: A table of test examples.
        tokens: Words in lower case without punctuation, or characters as they are.
        vocabulary: Most ids, the first two included; the most frequent tokens have one.
        length: Tokens of an example.
        on_error: What is done with a text that is not UTF-8 or has no tokens: an error, or left out and counted.

    Raises:
        UserError: See `check`; a text is unreadable; or there are too few tokens for a window.
    """
    from tfscale.data import layers

    skip = on_error == "skip"
    if folder is not None:
        read = text_files.from_folder(folder, labelled=label is not None, skip=skip)
    else:
        read = text_files.from_tables(_tables(file, validation_file, test_file), text, label, skip=skip)
    if learned is None:
        layer = _adapted(tokens, vocabulary, read[Split.TRAIN].texts)
        names = tuple(str(each) for each in layer.get_vocabulary())
    else:
        names, tokens = _vocabulary(learned), _unit(learned)
        layer = layers.vectorization(tokens, names)
    rows = {split: _Rows.of(layer, part.texts) for split, part in read.items()}
    skipped = sum(part.skipped for part in read.values())
    if label is None and (learned is None or _has_windows(learned)):
        windows = {split: _windows(each.ids, length, split) for split, each in rows.items()}
        return _arrays(windows, names, tokens, skipped=skipped, classes=len(names))
    kept = {split: _with_tokens(rows[split], part, skip) for split, part in read.items()}
    skipped += sum(len(part.texts) - len(kept[split]) for split, part in read.items())
    labelled = {
        split: (
            rows[split].padded(kept[split], length),
            None if label is None else part.targets[kept[split]],
        )
        for split, part in read.items()
    }
    arrays = _arrays(labelled, names, tokens, skipped=skipped, classes=None)
    return arrays._replace(
        names=lambda split, index: read[split].names[int(kept[split][index])],
        column=lambda split, name: read[split].column(name)[kept[split]],
    )


def _vocabulary(learned: Preprocessing) -> tuple[str, ...]:
    x = learned.spec.x
    if not isinstance(x, ArraySpec) or not isinstance(learned.encoding, Tokens) or x.names is None:
        raise UserError("data=text needs a run that was trained on texts, got one with other inputs; give its data")
    return x.names


def _unit(learned: Preprocessing) -> Unit:
    return learned.encoding.unit if isinstance(learned.encoding, Tokens) else "words"


def rows(texts: Sequence[bytes], learned: Preprocessing) -> np.ndarray:
    """Returns texts as [N, length] int32, as a run has learned to; a text without tokens is a row of zeros."""
    from tfscale.data import layers

    names = _vocabulary(learned)
    length = learned.spec.x.shape[0] if isinstance(learned.spec.x, ArraySpec) else 0
    return _Rows.of(layers.vectorization(_unit(learned), names), texts).padded(np.arange(len(texts)), length)


def _has_windows(learned: Preprocessing) -> bool:
    x, y = learned.spec.x, learned.spec.y
    return isinstance(x, ArraySpec) and isinstance(y, ArraySpec) and x.shape == y.shape


def _arrays(
    parts: Mapping[Split, tuple[np.ndarray, np.ndarray | None]],
    names: tuple[str, ...],
    tokens: Unit,
    *,
    skipped: int,
    classes: int | None,
) -> Arrays:
    x_test, y_test = parts.get(Split.TEST, (None, None))
    x_validation, y_validation = parts.get(Split.VALIDATION, (None, None))
    return Arrays(
        *parts[Split.TRAIN],
        x_test,
        y_test,
        x_validation=x_validation,
        y_validation=y_validation,
        classes=classes,
        vocabulary=len(names),
        columns=names,
        skipped=skipped,
        encoding=Tokens(unit=tokens),
    )


def _adapted(tokens: Unit, vocabulary: int, texts: Sequence[bytes]) -> "keras.layers.TextVectorization":
    """Returns the tokenizer with the vocabulary of the texts."""
    import tensorflow as tf

    from tfscale.data import layers

    layer = layers.vectorization(tokens, size=vocabulary)
    options = tf.data.Options()
    options.autotune.enabled = False  # its thread would outlive the pass
    with tf.device("/CPU:0"):
        layer.adapt(tf.data.Dataset.from_tensor_slices(list(texts)).batch(_CHUNK).with_options(options))
    return layer


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """The ids of texts of any length.

    Attributes:
        ids: [tokens] int32, of all texts.
        ends: [N] end of each text in `ids`.
    """

    ids: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, layer: "keras.layers.TextVectorization", texts: Sequence[bytes]) -> "_Rows":
        """Tokenises texts."""
        import tensorflow as tf

        ids, lengths = [], []
        with tf.device("/CPU:0"):
            for start in range(0, len(texts), _CHUNK):
                ragged = layer(tf.constant(list(texts[start : start + _CHUNK])))
                ids.append(ragged.values.numpy().astype(np.int32))
                lengths.append(ragged.row_lengths().numpy())
        return cls(ids=np.concatenate(ids), ends=np.cumsum(np.concatenate(lengths)))

    @property
    def lengths(self) -> np.ndarray:
        """[N] number of tokens of each text."""
        return np.diff(self.ends, prepend=0)

    def padded(self, indices: np.ndarray, length: int) -> np.ndarray:
        """Returns the texts of indices as [n, length]: zeros, then the first tokens of the text."""
        import keras

        rows = np.split(self.ids, self.ends[:-1])
        return keras.utils.pad_sequences(
            [rows[index] for index in indices], length, dtype="int32", padding="pre", truncating="post"
        )


def _with_tokens(rows: _Rows, part: Texts, skip: bool) -> np.ndarray:
    """Returns the indices of the texts that have tokens.

    Raises:
        UserError: One has none, and `skip` is False; or none has any.
    """
    kept = np.flatnonzero(rows.lengths)
    if len(kept) < len(part.texts) and not skip:
        index = int(np.argmin(rows.lengths))
        raise UserError(f"{part.names[index]} has no tokens; leave it out, or type data.on_error=skip")
    if not len(kept):
        raise UserError(f"the text {part.names[0]} and all others of its split have no tokens; check the files")
    return kept


def _windows(ids: np.ndarray, length: int, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Returns x and y [N, length], one token apart; the tokens after the last whole window are left out."""
    count = (len(ids) - 1) // length
    if count < 1:
        raise UserError(
            f"data.length must be below the number of {split.value} tokens ({len(ids):,}), got {length}; give a "
            "smaller one"
        )
    return ids[: count * length].reshape(count, length), ids[1 : count * length + 1].reshape(count, length)
