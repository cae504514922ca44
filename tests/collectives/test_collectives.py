"""The collective contract: in one process, and the same results from real processes over every transport."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.support.marks import quick
from tests.support.processes import launch
from tfscale.collectives.base import gather_bytes, mean_bytes, ranks_of
from tfscale.collectives.bundles import pack, unpack
from tfscale.collectives.checksummed import add_checksum, gather_bytes_of, require_equal, verify_checksum
from tfscale.collectives.in_process import InProcess
from tfscale.collectives.ordered import ordered_bytes, ordered_mean
from tfscale.errors import ExchangeError

# The same inputs for every transport: a vector and a message for each rank.
SIZE = 1001


def vector(rank: int) -> np.ndarray:
    return np.random.default_rng(rank).standard_normal(SIZE).astype(np.float32)


def message(rank: int) -> np.ndarray:
    """Lengths 0, 3, 6, ...: empty ones are legal."""
    return np.arange(3 * rank, dtype=np.int32) - rank


def small_numbers(rank: int, dtype: type) -> np.ndarray:
    """Seven ranks' sum is exact in int8 and in float16."""
    return (np.arange(SIZE) % 19 - 9 - rank).astype(dtype)


def bundle(rank: int, replicas: int) -> list[tf.Tensor]:
    """Messages of a rank to all; some are empty."""
    return [tf.fill([(rank + 2 * other) % 4], 100 * rank + other) for other in range(replicas)]


def test_in_process_bundles_bring_what_all_sent_to_each() -> None:
    received = InProcess(replicas=5).all_to_all([pack(bundle(rank, 5)) for rank in range(5)])
    for rank, each in enumerate(received):
        sent = [bundle(other, 5)[rank].numpy().tolist() for other in range(5)]
        assert [one.numpy().tolist() for one in unpack(each, 5)] == sent


@pytest.mark.parametrize("wrong", [[], [1], [1, 1, 7], [2, 1, 7, 7, 7, 7], [-1, 2, 7], [2**31 - 1, 2**31 - 1, 7]])
def test_a_bundle_with_wrong_lengths_is_refused(wrong: list[int]) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="a bundle is damaged"):
        unpack(tf.constant(wrong, tf.int32), 2)


def test_in_process_mean_gather_broadcast() -> None:
    collective = InProcess(replicas=4)
    vectors = [tf.constant(vector(rank)) for rank in range(4)]
    np.testing.assert_allclose(collective.mean(vectors), np.mean([v.numpy() for v in vectors], axis=0), atol=1e-6)
    gathered = collective.gather([tf.constant(message(rank)) for rank in range(4)])
    assert [each.numpy().tolist() for each in gathered] == [message(rank).tolist() for rank in range(4)]
    np.testing.assert_array_equal(collective.broadcast(vectors), vectors[0])
    again = collective.regular_gather()(gathered)
    assert [each.numpy().tolist() for each in again] == [message(rank).tolist() for rank in range(4)]


@pytest.mark.parametrize("dtype", [np.int8, np.float16])
def test_in_process_totals_keep_their_type(dtype: type) -> None:
    own = [np.arange(-4, 5).astype(dtype) * rank for rank in range(4)]
    got = InProcess(replicas=4).total([tf.constant(each) for each in own])
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, sum(own))


def test_an_ordered_mean_adds_by_rank() -> None:
    vectors = [vector(rank) for rank in range(4)]
    wanted = vectors[0]
    for each in vectors[1:]:
        wanted = wanted + each
    got = tf.function(lambda: ordered_mean(InProcess(replicas=4), [tf.constant(each) for each in vectors]))()
    np.testing.assert_array_equal(got, wanted / np.float32(4))
    assert ordered_bytes(100, 3) == 3 * 101 * 4 * 2, "each vector and its sum go to two others"


@pytest.mark.parametrize("bit", [0, 13, 31])
def test_an_ordered_mean_refuses_a_damaged_vector(bit: int) -> None:
    class Noisy:
        """Flips a bit of what rank 1 has sent."""

        size = 2

        def gather(self, messages: list[tf.Tensor]) -> list[tf.Tensor]:
            words = messages[1].numpy()
            words[7] ^= np.int32(-(2**31)) if bit == 31 else np.int32(1 << bit)
            return [messages[0], tf.constant(words)]

    with pytest.raises(tf.errors.InvalidArgumentError, match="the message of rank 1 is damaged: its checksum is wrong"):
        ordered_mean(Noisy(), [tf.constant(vector(rank)) for rank in range(2)])  # pyright: ignore[reportArgumentType]


def test_replicas_with_other_digests_are_named() -> None:
    collective = InProcess(replicas=3)
    require_equal(collective, ["00" * 32] * 3, "numbers")
    with pytest.raises(ExchangeError, match="numbers differ: those of rank 1 are not those of the others"):
        require_equal(collective, ["00" * 32, "01" * 32, "00" * 32], "numbers")


def test_bytes_between_processes_are_verified() -> None:
    class Noisy:
        """Flips a bit of what rank 0 has sent."""

        size = 1

        def gather(self, messages: list[tf.Tensor]) -> list[tf.Tensor]:
            return [messages[0] ^ tf.constant([0, 8, 0], tf.int32)]

    with pytest.raises(ExchangeError, match="damaged on the way"):
        gather_bytes_of(Noisy(), [b"12345678"])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("processes", "replicas"), [(1, 1), (2, 2), (3, 12), (4, 7), (5, 5)])
def test_replicas_are_divided_without_gaps(processes: int, replicas: int) -> None:
    held = [ranks_of(process, processes, replicas) for process in range(processes)]
    assert [rank for ranks in held for rank in ranks] == list(range(replicas))
    assert max(map(len, held)) - min(map(len, held)) <= 1


def test_too_few_replicas_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot occupy"):
        ranks_of(0, 4, 3)


def test_bytes_on_the_wire() -> None:
    assert mean_bytes(100, 1) == 0
    assert mean_bytes(100, 2) == 2 * 400, "two replicas: each sends and the other receives the whole vector once"
    assert int(gather_bytes(tf.constant(10), 4)) == 3 * 40, "each word goes to three others"


CHILD = """
import json, sys
import numpy as np, tensorflow as tf
sys.path.insert(0, {tests!r})
from test_collectives import bundle, message, small_numbers, vector
from tfscale.collectives.bundles import pack
from tfscale.collectives.horovod import Horovod
collective = Horovod(replicas={replicas}, processes={processes}, shared_memory={shared_memory})
vectors = [tf.constant(vector(rank)) for rank in collective.ranks]
messages = [tf.constant(message(rank)) for rank in collective.ranks]

@tf.function
def exchange():
    gathered = collective.gather(messages)
    padded = [tf.pad(each, [[0, 64 - tf.size(each)]]) for each in gathered]
    totals = [collective.total([tf.constant(small_numbers(rank, dtype)) for rank in collective.ranks])
              for dtype in (np.int8, np.float16)]
    return collective.mean(vectors), padded, collective.broadcast(vectors), totals

regular_gather = collective.regular_gather()

@tf.function(input_signature=[tf.TensorSpec([], tf.int32)])
def regular(times):
    return regular_gather([tf.tile(each, [times]) for each in messages])

mean, gathered, first, totals = exchange()
@tf.function(input_signature=[tf.TensorSpec([None], tf.int32)] * len(collective.ranks))
def bundles(*own):  # constants would be exchanged while TensorFlow traces
    return collective.all_to_all(own)

received = bundles(*[pack(bundle(rank, collective.size)) for rank in collective.ranks])
out = dict(bundles=[each.numpy().tolist() for each in received], ranks=list(collective.ranks),
           mean=mean.numpy().tobytes().hex(), first=first.numpy().tobytes().hex(),
           totals=[each.numpy().tolist() for each in totals],
           gathered=[each.numpy().tolist() for each in gathered],
           lengths=[len(message(rank)) for rank in range(collective.size)],
           regular=[[each.numpy().tolist() for each in regular(tf.constant(times))] for times in (1, 9, 0, 2)])
open({folder!r} + f"/out-{{collective.ranks[0]}}.json", "w").write(json.dumps(out))
"""


@pytest.mark.horovod
@pytest.mark.parametrize(
    ("processes", "replicas", "shared_memory"),
    quick([(2, 2, True), (2, 2, False), (3, 7, True), (3, 7, False)], only=[(3, 7, False)]),
)
def test_processes_give_what_one_process_gives(
    processes: int, replicas: int, shared_memory: bool, tmp_path: Path
) -> None:
    places = {"tests": str(Path(__file__).parent), "folder": str(tmp_path)}
    code = CHILD.format(replicas=replicas, processes=processes, shared_memory=shared_memory, **places)
    assert launch(code, tmp_path, processes) == 0, (tmp_path / "logs" / "rank-1.log").read_text()
    results = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("out-*.json"))]
    assert len(results) == processes
    assert sorted(rank for each in results for rank in each["ranks"]) == list(range(replicas))
    assert len({each["mean"] for each in results}) == 1, "all processes must get the same bits"
    local = InProcess(replicas=replicas)
    expected = local.mean([tf.constant(vector(rank)) for rank in range(replicas)]).numpy()
    got = np.frombuffer(bytes.fromhex(results[0]["mean"]), np.float32)
    # The sum runs in another order between processes; that is all.
    np.testing.assert_allclose(got, expected, atol=1e-6)
    for each in results:
        for dtype, total in zip((np.int8, np.float16), each["totals"], strict=True):
            wanted = np.sum([small_numbers(rank, dtype) for rank in range(replicas)], axis=0)
            np.testing.assert_array_equal(total, wanted)
        for rank, received in zip(each["ranks"], each["bundles"], strict=True):
            sent = [bundle(other, replicas)[rank].numpy().tolist() for other in range(replicas)]
            assert [one.numpy().tolist() for one in unpack(tf.constant(received), replicas)] == sent
        assert bytes.fromhex(each["first"]) == vector(0).tobytes()
        unpadded = [row[:length] for row, length in zip(each["gathered"], each["lengths"], strict=True)]
        assert unpadded == [message(rank).tolist() for rank in range(replicas)]
        for times, gathered in zip((1, 9, 0, 2), each["regular"], strict=True):
            assert gathered == [np.tile(message(rank), times).tolist() for rank in range(replicas)]


def test_no_two_flipped_bits_of_a_checksummed_message_cancel_out() -> None:
    checksummed = add_checksum(tf.constant(message(20))).numpy()
    random = np.random.default_rng(1)
    for _ in range(200):
        one, other = random.choice(len(checksummed), 2, replace=False)
        bit = random.integers(0, 32, dtype=np.int32)
        changed = checksummed.copy()
        changed[[one, other]] ^= np.int32(1) << bit
        with pytest.raises(tf.errors.InvalidArgumentError, match="the message of rank 3 is damaged"):
            verify_checksum(tf.constant(changed), 3)
