"""What the user may have meant."""

import difflib
from collections.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, if one is like it at all."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def closest_key(key: str, known: Iterable[str]) -> str | None:
    """The known dotted key most like `key`: the same last part elsewhere, then alike as a whole, then in the last part."""
    keys = list(known)
    by_last = {each.rsplit(".", 1)[-1]: each for each in reversed(keys)}
    last = key.rsplit(".", 1)[-1]
    if last in by_last:
        return by_last[last]
    whole = closest(key, keys)
    if whole is not None:
        return whole
    near = closest(last, by_last)
    return by_last[near] if near is not None else None
