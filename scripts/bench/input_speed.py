"""Speed of endless iterators that prepare batches ahead, in turns; no TensorFlow."""

import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

OWN = "tfscale"
"""Name of tfscale's own iterator."""

WARM_UP = 2
"""Rounds that do not count: buffers grow in them."""

LEAST = 4
"""Batches that are drawn at least, however long that takes."""


class Speed(NamedTuple):
    """Examples a second of wall time, and of processor time."""

    wall: float
    processor: float


def speed(feed: Iterator[object], batch: int, seconds: float) -> Speed:
    """Draws for some seconds; as many examples are prepared as are taken, since buffers are full at both ends."""
    began, used, count = time.perf_counter(), time.process_time(), 0
    while count < LEAST or time.perf_counter() - began < seconds:
        next(feed)
        count += 1
    ended = settled()
    return Speed(wall=count * batch / (ended - began), processor=count * batch / (time.process_time() - used))


def settled() -> float:
    """Waits until this process has computed nothing for a while; returns the time at which that began."""
    since, used = time.perf_counter(), time.process_time()
    for _ in range(3000):
        time.sleep(0.02)
        now, computed = time.perf_counter(), time.process_time()
        if computed - used > 0.002:
            since = now
        elif now - since > 0.07:
            return since
        used = computed
    raise TimeoutError("a pipeline goes on computing, though nobody draws from it")


def speeds(
    iterators: Mapping[str, Iterator[object]], *, batch: int, rounds: int, seconds: float
) -> dict[str, list[Speed]]:
    """Measures all iterators in turns; the speed of each in every round."""
    found: dict[str, list[Speed]] = {name: [] for name in iterators}
    chance = random.Random(0)
    for turn in range(-WARM_UP, rounds):
        for name in chance.sample(list(iterators), k=len(iterators)):
            measured = speed(iterators[name], batch, seconds)
            if turn >= 0:
                found[name].append(measured)
    return found


def compared(source: str, found: Mapping[str, Sequence[Speed]]) -> list[dict[str, object]]:
    """Returns a row for each rival: the ratios of tfscale to it within a round."""
    rows = []
    for name in (name for name in found if name != OWN):
        pairs = list(zip(found[OWN], found[name], strict=True))
        ratios = [own.wall / other.wall for own, other in pairs]
        rows.append(
            {
                "source": source,
                "by_hand": name,
                "tfscale_per_second": round(statistics.median(own.wall for own, _ in pairs)),
                "by_hand_per_second": round(statistics.median(other.wall for _, other in pairs)),
                "ratio": round(statistics.median(ratios), 3),
                "lowest": round(min(ratios), 3),
                "highest": round(max(ratios), 3),
                "ratio_of_processor_time": round(
                    statistics.median(own.processor / other.processor for own, other in pairs), 3
                ),
            }
        )
    return rows
