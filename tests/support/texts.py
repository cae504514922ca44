"""Generated texts of two classes, for tests."""

import random
from pathlib import Path

WORDS = {"good": ("fine", "lovely", "great", "sweet"), "bad": ("poor", "dull", "awful", "bitter")}
COMMON = ("the", "film", "was", "and", "music", "we", "saw", "it", "Sunday,", "a")


def sentence(kind: str, number: int) -> str:
    """Words that say nothing, some that belong to a class, and a number of its own."""
    own = random.Random(number)
    words = [own.choice(COMMON) for _ in range(own.randint(4, 9))] + [own.choice(WORDS[kind]) for _ in range(2)]
    own.shuffle(words)
    return f"{' '.join(words)} n{number}."


def write_texts(root: Path, counts: dict[str, int]) -> dict[str, str]:
    """Writes a .txt file for each sentence, below a folder a class; returns the class by the sentence's last word."""
    kinds = {}
    for kind, count in counts.items():
        (root / kind).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            number = len(kinds)
            (root / kind / f"{number:04}.txt").write_text(sentence(kind, number))
            kinds[f"n{number}"] = kind
    return kinds
