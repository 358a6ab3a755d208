"""Images per second and time left, from shards as they end."""

from __future__ import annotations

from support.runs.planned_rows import Clock

from vae_batch.run.progress.counters import Pace


def test_nothing_can_be_told_before_a_shard_has_ended() -> None:
    pace = Pace(Clock())
    assert pace.images_per_second() is None
    assert pace.seconds_left({"generated": 5}) is None


def test_time_left_is_the_time_of_missing_shards_by_how_many_run_at_once() -> None:
    clock = Clock()
    pace = Pace(clock)
    for ends, kind, seconds in ((10, "generated", 16), (20, "generated", 16), (20, "losses", 8)):
        clock.now = ends
        pace.took(kind, 100, seconds)
    assert pace.images_per_second() == 15  # 300 images in 20 seconds
    # 40 busy seconds in 20: two at once. 10 shards of 16 s and 5 of 8 s are 200 s of work.
    assert pace.seconds_left({"generated": 10, "losses": 5}) == 100
    assert pace.seconds_left({"generated": 0, "losses": 0}) == 0


def test_a_kind_without_a_finished_shard_takes_the_mean_of_the_others() -> None:
    clock = Clock()
    pace = Pace(clock)
    for second in range(1, 8):
        clock.now = second
        pace.took("reference", 10, 1.0)
    assert pace.seconds_left({"generated": 4}) is None, "7 shards of another kind tell nothing"
    clock.now = 8
    pace.took("reference", 10, 1.0)
    assert pace.seconds_left({"generated": 4}) == 4


def test_the_pace_is_that_of_the_last_minute() -> None:
    clock = Clock()
    pace = Pace(clock)
    for second in range(1, 201):
        clock.now = second
        pace.took("generated", 10 if second <= 100 else 40, 1.0)
    assert pace.images_per_second() == 40
    clock.now = 260  # nothing has ended for a minute: the pace sinks, and so shows it
    # 17 shards are kept, of seconds 184 to 200, since the one of second 183: 17 * 40 / 77
    assert 8 < (pace.images_per_second() or 0) < 9


def test_shards_longer_than_a_minute_have_a_pace_too() -> None:
    clock = Clock()
    pace = Pace(clock)
    for minute in range(1, 6):
        clock.now = 300.0 * minute
        pace.took("generated", 3000, 300.0)
    assert pace.images_per_second() == 10
    assert pace.seconds_left({"generated": 2}) == 600
