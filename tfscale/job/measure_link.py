"""Measures what an exchange costs between processes, in each of them: `python -m tfscale.job.measure_link`.

A launcher starts the processes as it starts those of a job. Before each exchange they compute for as long as a short
step takes, since an exchange is slower when caches hold other things and Horovod's threads have to be woken.
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from tfscale import devices
from tfscale.collectives.base import mean_bytes
from tfscale.collectives.horovod import Horovod
from tfscale.estimate.link import RESULT
from tfscale.launchers.spawn import die_with_parent
from tfscale.runs.run_directory import VARIABLE
from tfscale.world import World, from_environment

COMPUTING = 0.005
"""Seconds of computing before an exchange."""

MESSAGE = 256
"""Words of a small message."""

SMALL_REPEATS, LARGE_REPEATS = 100, 3
FIRST, LARGEST = 1 << 16, 1 << 24
"""Words of the first vector, and of the largest."""

ENOUGH = 0.2
"""Seconds that an exchange must take for a good figure; vectors grow until it does."""


def main() -> None:
    """Measures; rank 0 writes the result."""
    die_with_parent()
    world = from_environment() or World()
    devices.claim(1, local_rank=world.local_rank, local_size=world.local_size)
    collective = Horovod(replicas=world.size, processes=world.size, shared_memory=False)
    gather = collective.regular_gather()
    message = tf.zeros([MESSAGE], tf.int32)

    def small(words: tf.Tensor) -> tf.Tensor:
        return tf.add_n([tf.reduce_sum(each) for each in gather([words])])

    call = _seconds(tf.function(small, autograph=False), message, SMALL_REPEATS)
    size, large = FIRST, 0.0
    while True:
        mean = tf.function(lambda vector: collective.mean([vector])[0], autograph=False)
        mean_of_all = collective.mean([tf.constant([_seconds(mean, tf.zeros([size]), LARGE_REPEATS)])])
        large = float(mean_of_all[0])  # the same in all processes, which must agree on the next size
        if large >= ENOUGH or size >= LARGEST:
            break
        size *= 4
    sent = mean_bytes(size, world.size) / world.size
    if world.is_chief:
        result = {"call": call, "seconds_a_byte": max(0.0, large - call) / sent}
        (Path(os.environ[VARIABLE]) / RESULT).write_text(json.dumps(result), encoding="utf-8")


def _seconds(exchange: Callable[[tf.Tensor], tf.Tensor], value: tf.Tensor, repeats: int) -> float:
    """Returns the mean duration of an exchange, without the first ones, which set up, and the slowest twentieth."""
    durations = []
    for _ in range(2 + repeats):
        end = time.perf_counter() + COMPUTING
        while time.perf_counter() < end:
            pass
        began = time.perf_counter()
        exchange(value).numpy()
        durations.append(time.perf_counter() - began)
    usual = sorted(durations[2:])[: repeats - repeats // 20]
    return statistics.fmean(usual)


if __name__ == "__main__":
    main()
