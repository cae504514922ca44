"""What can happen to a run: each fault is done to a job that trains, and says how to go on with it, if it must be.

The faults on the wire come from a library that is loaded before all others (wire.c below) and changes one bit of what
is received, the next time that something long enough is, after the fault was ordered through a file.
"""

import atexit
import random
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from tfscale.launch import membership
from tfscale.training import checkpoint_files

WIRE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static uint32_t* order(void) {  // whether a bit is to be flipped, and which of the message
  static uint32_t* words = NULL;
  const char* path = getenv("TFSCALE_CHAOS_WIRE");
  if (words == NULL && path != NULL) {
    int file = open(path, O_RDWR);
    if (file >= 0) words = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  }
  return words == MAP_FAILED ? NULL : words;
}

static void flip(unsigned char* bytes, ssize_t count) {
  uint32_t* words = order();
  if (words == NULL || count < 256 || words[0] == 0) return;
  if (__sync_bool_compare_and_swap(&words[0], 1, 0)) bytes[(words[1] >> 3) % count] ^= 1u << (words[1] & 7);
}

ssize_t recv(int fd, void* buffer, size_t size, int flags) {
  static ssize_t (*real)(int, void*, size_t, int);
  if (real == NULL) real = dlsym(RTLD_NEXT, "recv");
  ssize_t count = real(fd, buffer, size, flags);
  flip(buffer, count);
  return count;
}

ssize_t readv(int fd, const struct iovec* parts, int number) {
  static ssize_t (*real)(int, const struct iovec*, int);
  if (real == NULL) real = dlsym(RTLD_NEXT, "readv");
  ssize_t count = real(fd, parts, number);
  ssize_t first = number > 0 ? (ssize_t)parts[0].iov_len : 0;
  if (count > 0) flip(parts[0].iov_base, count < first ? count : first);
  return count;
}
"""


@dataclass
class Victim:
    """A run that is to be disturbed.

    Attributes:
        process: Its supervisor.
        run: Its folder.
        chance: What is drawn from.
    """

    process: "subprocess.Popen[bytes]"
    run: Path
    chance: random.Random

    def ranks(self) -> list[psutil.Process]:
        """The processes of its last start that are there, by rank."""
        events = membership.read(self.run / "membership.jsonl")
        starts = [event["processes"] for event in events if event["event"] == "start"]
        found = []
        for pid in starts[-1] if starts else ():
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
        return found

    def wait(self, seconds: float) -> bool:
        """Waits until there is something to disturb, and then so long; whether the run still goes on."""
        deadline = time.monotonic() + 120
        while not self.ranks() and self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(seconds)
        return self.process.poll() is None and not (self.run / "summary.json").exists()


Fault = Callable[[Victim], Sequence[str] | None]
"""Does it; returns the words of `tfscale resume` if the job is over."""


def _kill(victim: Victim) -> None:
    """One rank, by SIGKILL."""
    ranks = victim.ranks()
    if ranks:
        with suppress(psutil.NoSuchProcess):
            victim.chance.choice(ranks).kill()


def _freeze(victim: Victim) -> None:
    """One rank, by SIGSTOP."""
    ranks = victim.ranks()
    if ranks:
        with suppress(psutil.NoSuchProcess):
            victim.chance.choice(ranks).send_signal(signal.SIGSTOP)


def _terminate(victim: Victim) -> Sequence[str]:
    """The whole job, by SIGTERM."""
    victim.process.terminate()
    victim.process.wait(60)
    return ()


def _supervisor(victim: Victim) -> Sequence[str]:
    """The supervisor, by SIGKILL; its processes must go within two seconds."""
    ranks = victim.ranks()
    victim.process.kill()
    victim.process.wait()
    _, alive = psutil.wait_procs(ranks, timeout=2)
    if alive:
        raise RuntimeError(f"{len(alive)} processes outlived their supervisor")
    return ()


def _resize(victim: Victim) -> Sequence[str]:
    """The whole job, by SIGTERM; it goes on with another number of processes."""
    return [*_terminate(victim), f"launch.np={victim.chance.randint(1, 3)}"]


def _corrupt(victim: Victim) -> Sequence[str]:
    """The supervisor, by SIGKILL, and then a file of the newest checkpoint."""
    _supervisor(victim)
    places = checkpoint_files.complete(victim.run / "checkpoints")
    if len(places) > 1:
        damage(victim.chance.choice(sorted(places[0].iterdir())), victim.chance)
    return ()


def damage(path: Path, chance: random.Random) -> str:
    """Changes a file at random, and says how: a bit, a byte, its length, a page of zeros, or all of it."""
    content = bytearray(path.read_bytes())
    kind = chance.choice(("bit", "byte", "truncate", "page", "empty", "gone"))
    at = chance.randrange(len(content))
    if kind == "bit":
        content[at] ^= 1 << chance.randrange(8)
    elif kind == "byte":
        content[at] ^= chance.randrange(1, 256)
    elif kind == "truncate":
        del content[at:]
    elif kind == "page":
        page = content[at : at + 4096]
        content[at : at + 4096] = bytes(len(page)) if any(page) else b"\x01" * len(page)
    elif kind == "empty":
        content.clear()
    if kind == "gone":
        path.unlink()
    else:
        path.write_bytes(content)
    return kind


def _wire(victim: Victim) -> None:
    """One bit of what some rank receives."""
    with Path(environment()["TFSCALE_CHAOS_WIRE"]).open("r+b") as orders:  # mapped by all: it must keep its length
        orders.write(struct.pack("=II", 1, victim.chance.randrange(2**32)))


@cache
def environment() -> Mapping[str, str]:
    """What a run must have in its environment for its wires to be disturbed; compiles the library."""
    folder = Path(tempfile.mkdtemp(prefix="tfscale-chaos-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    source, library, orders = folder / "wire.c", folder / "wire.so", folder / "orders"
    source.write_text(WIRE)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    orders.write_bytes(bytes(8))
    return {"LD_PRELOAD": str(library), "TFSCALE_CHAOS_WIRE": str(orders)}


FAULTS: Mapping[str, Fault] = {
    "kill": _kill,
    "freeze": _freeze,
    "terminate": _terminate,
    "supervisor": _supervisor,
    "resize": _resize,
    "corrupt": _corrupt,
    "wire": _wire,
}
