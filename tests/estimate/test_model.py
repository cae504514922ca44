"""The arithmetic of an estimate, against counted bytes, closed forms and sampling."""

import math

import numpy as np
import pytest

from tfscale.collectives.traffic import Traffic
from tfscale.errors import UserError
from tfscale.estimate.forecast import Forecast, Length, rate
from tfscale.estimate.link import Link, Transport, parse_rate, parse_seconds
from tfscale.estimate.model import FRAMES, Costs, estimate, expected_largest, needed_bandwidth, sent_bytes

FREE = Transport(call=0.0, seconds_a_byte=0.0)
SLOW = Link(bandwidth=1e6, latency=0.0)
MEAN = Traffic(kind="mean", words=1000)
GATHER = Traffic(kind="gather", words=10)


def costs(*traffic: Traffic, seconds: float = 0.01, a_peer: float = 0.0) -> Costs:
    return Costs(rounds=[seconds], seconds_a_peer=a_peer, traffic=traffic)


def seconds(of: Costs, ranks: int, link: Link = SLOW, transport: Transport = FREE) -> float:
    return estimate(of, alone=0.01, ranks=ranks, link=link, transport=transport).seconds


def test_a_replica_alone_exchanges_nothing() -> None:
    assert seconds(costs(MEAN, GATHER), 1) == pytest.approx(0.01)
    assert sent_bytes(MEAN, 1) == sent_bytes(GATHER, 1) == 0


def test_an_allreduce_sends_twice_its_vector_at_most_and_a_gather_its_message_to_all_others() -> None:
    assert [sent_bytes(MEAN, ranks) for ranks in (2, 4, 1000)] == [4000, 6000, pytest.approx(7992)]
    assert [sent_bytes(GATHER, ranks) for ranks in (2, 4, 1000)] == [40, 120, 39_960]


def test_the_wire_takes_its_bytes_at_its_rate() -> None:
    assert seconds(costs(MEAN), 2) == pytest.approx(0.01 + 4000 * FRAMES / 1e6)
    assert seconds(costs(Traffic(kind="mean", words=1000, every=4)), 2) == pytest.approx(0.01 + 1000 * FRAMES / 1e6)


def test_latency_counts_once_a_turn() -> None:
    far = Link(bandwidth=math.inf, latency=0.001)
    assert seconds(costs(GATHER), 8, far) == pytest.approx(0.01 + 0.001 * (7 + 2 * 3))
    assert seconds(costs(MEAN), 8, far) == pytest.approx(0.01 + 0.001 * (14 + 2 * 3))


def test_a_hidden_exchange_costs_only_what_computing_does_not_cover() -> None:
    hidden = Traffic(kind="mean", words=1000, is_hidden=True)
    assert seconds(costs(hidden), 2) == pytest.approx(0.01)
    assert seconds(costs(hidden), 2, Link(bandwidth=1e5, latency=0.0)) == pytest.approx(4000 * FRAMES / 1e5)


def test_each_peer_and_each_call_take_their_time() -> None:
    far = Link(bandwidth=math.inf, latency=0.0)
    slow = Transport(call=0.002, seconds_a_byte=1e-6)
    assert seconds(costs(GATHER, a_peer=0.001), 5, far, slow) == pytest.approx(0.01 + 0.004 + 0.002 + 160e-6)


def test_the_expected_largest_of_draws_is_what_sampling_gives() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=50)
    drawn = np.random.default_rng(2).choice(values, size=(200_000, 8)).max(axis=1).mean()
    assert expected_largest(values.tolist(), 8) == pytest.approx(drawn, rel=5e-3)
    assert expected_largest(values.tolist(), 1) == pytest.approx(values.mean())
    assert expected_largest(values.tolist(), 10**6) == pytest.approx(values.max())


def test_the_needed_bandwidth_gives_the_efficiency_and_less_does_not() -> None:
    own = costs(MEAN)
    needed = needed_bandwidth(own, alone=0.01, ranks=4, latency=0.0, transport=FREE, efficiency=0.9)
    for factor, reaches in ((1.0, True), (0.97, False)):
        link = Link(bandwidth=factor * needed, latency=0.0)
        assert (estimate(own, alone=0.01, ranks=4, link=link, transport=FREE).efficiency >= 0.9) is reaches
    far = needed_bandwidth(own, alone=0.01, ranks=4, latency=1.0, transport=FREE, efficiency=0.9)
    assert math.isinf(far), "no bandwidth makes up for a second of latency"


def test_a_forecast_counts_steps_of_epochs_by_the_number_of_replicas_and_names_the_fastest() -> None:
    forecast = Forecast(
        costs={"dense": costs(MEAN, seconds=0.01), "sparse": costs(GATHER, seconds=0.012)},
        link=SLOW,
        transport=FREE,
        ranks=(1, 4),
        length=Length(steps=None, epochs=2, examples=1000, batch=25),
        price=3.6,
    )
    rows = {(row["ranks"], row["strategy"]): row for row in forecast.rows()}
    assert forecast.alone == 0.01
    assert [forecast.fastest(ranks) for ranks in (1, 4)] == ["dense", "sparse"]
    assert [rows[ranks, "dense"]["steps"] for ranks in (1, 4)] == [80, 20]
    assert rows[4, "dense"]["seconds"] == pytest.approx(20 * (0.01 + 6000 * FRAMES / 1e6))
    assert rows[4, "dense"]["cost"] == pytest.approx(4 * 0.001 * rows[4, "dense"]["seconds"])
    assert rows[4, "sparse"]["efficiency"] == pytest.approx(0.01 / (0.012 + 120 * FRAMES / 1e6))


@pytest.mark.parametrize(
    ("text", "bytes_a_second"), [("100Mbit", 12.5e6), ("1gbit", 125e6), ("2.5 Gbit", 312.5e6), ("500kbit", 62.5e3)]
)
def test_rates_are_read_in_bits(text: str, bytes_a_second: float) -> None:
    assert parse_rate("link", text) == pytest.approx(bytes_a_second)


@pytest.mark.parametrize(("text", "wanted"), [("1ms", 1e-3), ("50us", 5e-5), ("0.2s", 0.2), ("0", 0.0)])
def test_times_are_read(text: str, wanted: float) -> None:
    assert parse_seconds("latency", text) == pytest.approx(wanted)


@pytest.mark.parametrize("text", ["", "100", "Mbit", "0Mbit", "-1Mbit", "1e3Mbit", "100MB", "nan"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="link must be a rate: 100Mbit"):
        parse_rate("link", text)


def test_rates_are_shown_in_the_unit_that_fits() -> None:
    assert [rate(each) for each in (62.5e3, 12.5e6, 125e6, math.inf)] == [
        "500 kbit/s",
        "100 Mbit/s",
        "1 Gbit/s",
        "no limit",
    ]
