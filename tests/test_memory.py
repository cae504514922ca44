"""Memory that is kept is not asked for again."""

import resource
from threading import Thread

from tfscale.memory import keep_freed


def test_freed_memory_is_used_again() -> None:
    keep_freed()
    faults: list[int] = []

    def fill() -> None:
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        blocks = [bytes(bytearray(3 << 20)) for _ in range(3)]
        faults.append(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)
        del blocks

    for _ in range(20):
        writer = Thread(target=fill)
        writer.start()
        writer.join()
    assert min(faults) < 100, faults  # of some 2,300 pages; a heap may be another thread's now and then
