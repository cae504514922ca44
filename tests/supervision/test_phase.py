"""Phases: the properties that the watchdog acts on, and their names on disk."""

from tfscale.supervision.phase import Phase


def test_a_rank_that_starts_loads_data_or_waits_for_its_disk_waits_for_no_other_rank() -> None:
    alone = {phase for phase in Phase if not phase.waits_for_others}
    assert alone == {Phase.STARTING, Phase.DATA, Phase.DISK}


def test_a_start_a_disk_and_a_compiler_may_be_slow_at_any_time() -> None:
    assert [phase for phase in Phase if phase.always_has_minutes] == [
        *(Phase.STARTING, Phase.COMPILING, Phase.DISK, Phase.CLOSING)
    ]


def test_data_may_be_slow_at_first_and_again_after_a_hang() -> None:
    assert [phase for phase in Phase if phase.runs_with_minutes > 1] == [Phase.DATA]
    assert [phase for phase in Phase if phase.has_minutes_after_hang] == [Phase.DATA]


def test_every_name_fits_its_field_of_a_heartbeat_file() -> None:
    names = [phase.value.encode() for phase in Phase]
    assert max(map(len, names)) <= 16
    assert len(set(names)) == len(names) == 11
