"""Suggests the word that the user may have meant."""

import difflib
from collections.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str | None:
    """Returns the known word that is most similar to `word`; None if none is similar."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def closest_key(key: str, known: Iterable[str]) -> str | None:
    """Returns the known dotted key that is most similar to `key`; None if none is similar.

    In this order: a key with the same last part, a similar key of the same group, of any group, a key with a similar
    last part.
    """
    keys = list(known)
    by_last = {each.rsplit(".", 1)[-1]: each for each in reversed(keys)}
    last, group = key.rsplit(".", 1)[-1], key.split(".", 1)[0]
    if last in by_last:
        return by_last[last]
    near = closest(key, (each for each in keys if each.startswith(f"{group}."))) or closest(key, keys)
    if near is None:
        near_last = closest(last, by_last)
        return by_last[near_last] if near_last is not None else None
    return near
