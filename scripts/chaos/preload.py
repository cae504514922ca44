"""Preloaded library that injects the faults of networks and disks on request.

It flips one bit of the next message received that is long enough, and it fails system calls that write to files whose
path contains a given text: one call, or all until it is disarmed. Requests are in a file that all processes map.
"""

import os
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

FOLDER = "TFSCALE_CHAOS"
"""Environment variable with the folder of the library and its requests."""

_ORDERS = struct.Struct("=IIiiI236s")
"""Flag for flipping a bit, its number; error (0: none), calls before it (negative: all fail), unused, path."""

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct orders { uint32_t flip, bit; int32_t error, after; uint32_t unused; char path[236]; };

static struct orders* order(void) {
  static struct orders* orders = NULL;
  static __thread int opening = 0;
  const char* folder = getenv("TFSCALE_CHAOS");
  if (orders == NULL && folder != NULL && !opening) {
    opening = 1;
    char path[4096];
    snprintf(path, sizeof path, "%s/orders", folder);
    int file = open(path, O_RDWR);
    if (file >= 0) {
      void* mapped = mmap(NULL, sizeof(struct orders), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
      if (mapped != MAP_FAILED) orders = mapped;
      close(file);
    }
    opening = 0;
  }
  return orders;
}

static void flip(unsigned char* bytes, ssize_t count) {
  struct orders* orders = order();
  if (orders == NULL || count < 256 || orders->flip == 0) return;
  if (__sync_bool_compare_and_swap(&orders->flip, 1, 0)) bytes[(orders->bit >> 3) % count] ^= 1u << (orders->bit & 7);
}

static int fails(const char* path) {  // whether a call on this file must fail
  struct orders* orders = order();
  if (orders == NULL || orders->error == 0 || path == NULL || strstr(path, orders->path) == NULL) return 0;
  int error = orders->error;
  if (orders->after >= 0) {
    if (__sync_fetch_and_sub(&orders->after, 1) != 0) return 0;
    orders->error = 0;
  }
  errno = error;
  return 1;
}

static int file_fails(int file) {
  struct orders* orders = order();
  if (orders == NULL || orders->error == 0) return 0;
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return fails(path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t recv(int fd, void* buffer, size_t size, int flags) {
  ssize_t count = REAL(recv)(fd, buffer, size, flags);
  flip(buffer, count);
  return count;
}

ssize_t readv(int fd, const struct iovec* parts, int number) {
  ssize_t count = REAL(readv)(fd, parts, number);
  ssize_t first = number > 0 ? (ssize_t)parts[0].iov_len : 0;
  if (count > 0) flip(parts[0].iov_base, count < first ? count : first);
  return count;
}

ssize_t write(int file, const void* bytes, size_t count) {
  return file_fails(file) ? -1 : REAL(write)(file, bytes, count);
}

int ftruncate(int file, off_t size) { return file_fails(file) ? -1 : REAL(ftruncate)(file, size); }
int ftruncate64(int file, off64_t size) { return file_fails(file) ? -1 : REAL(ftruncate64)(file, size); }
int fsync(int file) { return file_fails(file) ? -1 : REAL(fsync)(file); }
int rename(const char* from, const char* to) { return fails(to) ? -1 : REAL(rename)(from, to); }
int mkdir(const char* path, mode_t mode) { return fails(path) ? -1 : REAL(mkdir)(path, mode); }

#define OPEN(name)                                                   \
  int name(const char* path, int flags, ...) {                       \
    va_list rest;                                                    \
    va_start(rest, flags);                                           \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest);                                                    \
    if (flags & O_CREAT && fails(path)) return -1;                   \
    return REAL(name)(path, flags, mode);                            \
  }
OPEN(open)
OPEN(open64)
"""


def preloaded(folder: Path) -> Mapping[str, str]:
    """Compiles the library into the folder; returns the environment variables of a program that loads it."""
    source, library = folder / "chaos.c", folder / "chaos.so"
    source.write_text(SOURCE)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    (folder / "orders").write_bytes(bytes(_ORDERS.size))
    return {"LD_PRELOAD": str(library), FOLDER: str(folder)}


def flip(number: int) -> None:
    """Flips one bit, chosen by `number`, of the next message that is long enough."""
    _order(0, "=II", 1, number)


def is_flipping() -> bool:
    """Returns whether a bit has yet to be flipped."""
    return _orders()[0] != 0


def fail(error: int, *, after: int, path: str) -> None:
    """Fails the call number `after` that writes to a path containing `path`, or all calls if `after` is negative."""
    _order(20, "=236s", path.encode())
    _order(12, "=i", after)
    _order(8, "=i", error)


def disarm() -> None:
    """Withdraws all requests."""
    _order(0, "=II", 0, 0)
    _order(8, "=i", 0)


def is_armed() -> bool:
    """Returns whether a call has yet to fail."""
    return _orders()[2] != 0


def _orders() -> tuple:
    return _ORDERS.unpack((Path(os.environ[FOLDER]) / "orders").read_bytes())


def _order(offset: int, form: str, *values: object) -> None:
    with (Path(os.environ[FOLDER]) / "orders").open("r+b") as orders:  # mapped by all: it must keep its length
        orders.seek(offset)
        orders.write(struct.pack(form, *values))
