"""The algorithms' headers: they need no TensorFlow, and a C++ program checks them."""

import re
import subprocess
import sys
from pathlib import Path

from tfscale.kernels import library

PROGRAM = Path(__file__).parent / "algorithms_test.cc"


def test_the_algorithms_do_what_the_sentences_of_the_program_say() -> None:
    command = [sys.executable, "-m", "tfscale.scripts.build.kernels", "--test", str(PROGRAM)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == PROGRAM.read_text().count('  Check("')
    assert all(line.startswith("ok ") for line in lines)


def test_only_operation_files_include_tensorflow() -> None:
    users = {name for name, text in library.sources().items() if re.search(rb'#include "(tensorflow|absl)/', text)}
    assert users == {
        *("compression_ops.cc", "shared_memory_ops.cc", "op_support.h", "message_op_support.h"),
    }


def test_every_header_is_checked_or_an_operations() -> None:
    """Headers that the program does not reach, through one another or itself, would compile untested."""
    texts = {**library.sources(), PROGRAM.name: PROGRAM.read_bytes()}
    reached, waiting = set(), [PROGRAM.name]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        included = {each.decode() for each in re.findall(rb'#include "([a-z0-9_]+\.h)"', texts[name])}
        waiting += sorted(included - reached)
    headers = {name for name in library.sources() if name.endswith(".h")}
    assert headers - reached == {"op_support.h", "message_op_support.h"}
    assert len(headers) > 15
