"""A race in a run: who leaves, what their rows are of, and that nothing is computed twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.models.toy_models import save_pair
from support.stores import score_rows

from vae_batch.metrics import PairedScore, StoredArrays
from vae_batch.metrics.catalogue import METRICS
from vae_batch.metrics.catalogue.plug_ins import raceable
from vae_batch.plan import InputError, make_spec
from vae_batch.plan.race_settings import RaceSettings
from vae_batch.run.compare.best_checkpoint import select_again
from vae_batch.run.compare.pairwise import compare_run
from vae_batch.run.execute.executor import SerialExecutor, Task
from vae_batch.run.execute.score_run import RunSummary, run
from vae_batch.run.execute.worker import ShardOutcome
from vae_batch.run.output.verify import verify_output
from vae_batch.run.planning.open_run import open_run, prepare
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.run.progress.events import ignore
from vae_batch.run.race import scores
from vae_batch.run.race.record import RaceOutcome, read_race
from vae_batch.run.race.rounds import is_over, run_race
from vae_batch.storage import ScoreRow, Store

_OF_THE_RUN = ("scored_at", "fingerprint", "left_race_at")


class Counting(SerialExecutor):
    """Notes every shard, and breaks off after so many."""

    def __init__(self, most: int = 10**9) -> None:
        self.shards: list[tuple[str, int]] = []
        self._most = most

    def run_shards(self, tasks: Sequence[Task], config: WorkerConfig) -> Iterator[ShardOutcome]:
        for outcome in super().run_shards(tasks, config):
            if len(self.shards) == self._most:
                raise KeyboardInterrupt
            self.shards.append((outcome.unit, outcome.shard.start))
            yield outcome


@pytest.fixture
def settings(toy_settings: dict[str, Any]) -> dict[str, Any]:
    """Six shards of 50 samples of each of three checkpoints; the classifier has 16 features."""
    more = {"samples": 300, "reference_samples": 300, "shard_size": 50, "metrics": "losses,fid"}
    return toy_settings | more


def scored(settings: dict[str, Any]) -> RunSummary:
    return run(prepare(make_spec(settings), ignore), SerialExecutor(), ignore)


def raced(
    settings: dict[str, Any], executor: SerialExecutor | None = None
) -> tuple[RunSummary, RaceOutcome]:
    plan = prepare(make_spec(settings), ignore)
    return run_race(open_run(plan, ignore), executor or SerialExecutor())


def by_name(summary: RunSummary) -> dict[str, ScoreRow]:
    return {Path(row.checkpoint).stem: row for row in summary.rows}


def numbers(row: ScoreRow) -> dict[str, Any]:
    return score_rows.numbers([row], *_OF_THE_RUN)[0]


@pytest.mark.parametrize("metric", ["elbo", "fid"])
def test_it_finds_what_the_full_evaluation_finds(
    metric: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    full = by_name(scored(settings | {"out": str(tmp_path / "full")}))
    race = {"metric": metric, "first": 100, "rare": 0}
    summary, outcome = raced(settings | {"race": race})
    rows, left = by_name(summary), outcome.left_at
    # 3 checkpoints, looks at 100, 200 and 300 of 300: each test at .05 / (2 * 3).
    assert outcome.looks == (100, 200, 300)
    assert outcome.level == pytest.approx(0.05 / 6)
    assert left, "with networks as different as these some must leave"
    sign = -1 if metric == "elbo" else 1
    best = min(full.values(), key=lambda row: sign * row.value(metric))
    assert outcome.best == best.checkpoint
    for name, row in rows.items():
        count = left.get(row.checkpoint)
        assert row.conditions.left_race_at == count
        if count is None:
            assert numbers(row) == numbers(full[name])
        else:
            assert row.conditions.n_generated == count
    spent = sum(left.values()) + 300 * len(outcome.stayed)
    assert (outcome.images, outcome.images_in_full) == (spent, 900)
    assert f"{spent} of 900 images" in outcome.sentence
    assert read_race(Store.open(settings["out"])) == outcome
    verified = verify_output(settings["out"])
    assert (verified.bad, verified.unfinished) == ((), 0)


def test_rows_of_those_that_left_are_those_of_fewer_samples(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    summary, outcome = raced(settings | {"race": {"metric": "fid", "first": 100, "rare": 0}})
    few = scored(settings | {"samples": 100, "out": str(tmp_path / "few")})
    ours, theirs = by_name(summary), by_name(few)
    left = [Path(label).stem for label, count in outcome.left_at.items() if count == 100]
    assert left
    for name in left:
        assert ours[name].conditions.n_generated == theirs[name].conditions.n_generated
        for column in ("fid", "fid_corrected"):
            assert ours[name].score(column) == theirs[name].score(column), column


def test_a_plug_in_metric_can_be_raced_by(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ELBO, brought as a plug-in, races as the shipped one does."""

    def bound(arrays: StoredArrays) -> PairedScore:
        return PairedScore.from_values(arrays.losses()["elbo"])

    race = {"race": {"metric": "elbo", "first": 100, "rare": 0}}
    _, expected = raced(settings | race)
    brought = replace(METRICS["elbo"], raced_over=(), reads=("losses",), compute=bound)
    monkeypatch.setitem(METRICS, "elbo", raceable(brought))
    monkeypatch.delitem(scores._SCORES, "elbo")
    _, found = raced(settings | race | {"out": str(tmp_path / "plug-in")})
    assert expected.left
    assert (found.left, found.members) == (expected.left, expected.members)
    beside = replace(brought, reads=("losses", "pictures"))
    assert raceable(beside).raced_over == (), "pictures do not grow with the losses"


def test_nobody_who_left_is_ranked(settings: dict[str, Any]) -> None:
    spec = settings | {"race": {"metric": "fid", "first": 100, "rare": 0}}
    _, outcome = raced(spec)
    compared = {row.checkpoint for row in compare_run(spec["out"])}
    assert compared == set(outcome.stayed)
    selection = select_again(spec["out"], make_spec(spec))
    assert selection is not None
    assert (selection.metric, selection.steps[0].leader) == ("fid_corrected", outcome.best)


def test_broken_off_it_goes_on_and_in_the_end_computes_each_shard_once(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    spec = settings | {"race": {"metric": "fid", "first": 100, "rare": 0}}
    quiet = Counting()
    summary, outcome = raced(spec | {"out": str(tmp_path / "quiet")}, quiet)
    assert summary.shards_computed == len(quiet.shards)
    done: list[tuple[str, int]] = []
    for most in (5, 9):
        executor = Counting(most)
        with pytest.raises(KeyboardInterrupt):
            raced(spec, executor)
        done += executor.shards[:-1]  # the last one was computed, and not heard of
    again, resumed = raced(spec, Counting())
    assert resumed.left == outcome.left
    assert [numbers(row) for row in again.rows] == [numbers(row) for row in summary.rows]
    assert len(set(done)) == len(done)
    assert is_over(open_run(prepare(make_spec(spec), ignore), ignore))
    idle = Counting()
    summary, known = raced(spec, idle)
    assert (idle.shards, summary.shards_computed, known) == ([], 0, resumed)


def test_a_full_evaluation_afterwards_computes_what_is_missing(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    full = scored(settings | {"out": str(tmp_path / "full")})
    first, second = Counting(), Counting()
    raced(settings | {"race": {"metric": "elbo", "first": 100, "rare": 0}}, first)
    summary = run(prepare(make_spec(settings), ignore), second, ignore)
    assert [numbers(row) for row in summary.rows] == [numbers(row) for row in full.rows]
    assert {row.conditions.left_race_at for row in summary.rows} == {None}
    assert not set(first.shards) & set(second.shards)
    assert len(first.shards) + len(second.shards) == full.shards_computed


def test_full_rows_stay_when_a_race_follows(settings: dict[str, Any]) -> None:
    full = scored(settings)
    summary, outcome = raced(settings | {"race": {"metric": "fid", "first": 100, "rare": 0}})
    assert summary.rows == full.rows
    assert summary.shards_computed == 0
    assert outcome.left
    assert verify_output(settings["out"]).bad == ()


def test_who_fails_leaves_with_its_reason_and_is_tried_again(
    settings: dict[str, Any], toy_folder: Path, tmp_path: Path
) -> None:
    from support.models.toy_models import save_classifier

    broken = tmp_path / "broken"
    save_pair(broken / "step-0009", seed=9)
    decoder = broken / "step-0009/decoder.keras"
    whole = decoder.read_bytes()
    decoder.write_bytes(whole[: len(whole) // 2])
    save_classifier(tmp_path / "linear.keras", "linear")
    more = {
        "checkpoints": [str(toy_folder / "runs"), str(broken)],
        "extractors": [*settings["extractors"], str(tmp_path / "linear.keras")],
        "class_output": "logits",
        "race": {"metric": "fid", "first": 100, "rare": 0},
    }
    summary, outcome = raced(settings | more)
    failed = [row for row in summary.rows if row.status == "failed"]
    assert [Path(row.checkpoint).stem for row in failed] == ["step-0009"] * 2
    assert all("decoder.keras" in row.reason.text for row in failed)
    assert all(row.conditions.left_race_at is None for row in failed)
    assert len(outcome.failed) == 1
    assert "1 failed" in outcome.sentence
    decoder.write_bytes(whole)
    summary, outcome = raced(settings | more)
    assert {row.status for row in summary.rows} == {"scored"}
    assert outcome.failed == ()


def test_who_has_no_score_does_not_race_and_is_scored_in_full(
    settings: dict[str, Any], toy_folder: Path, tmp_path: Path
) -> None:
    from support.models.toy_models import make_decoder

    (tmp_path / "more").mkdir()
    make_decoder(5).save(tmp_path / "more/decoder.keras")
    checkpoints = [str(toy_folder / "runs"), str(tmp_path / "more/decoder.keras")]
    race = {"metric": "elbo", "first": 100, "rare": 0}
    summary, outcome = raced(settings | {"checkpoints": checkpoints, "race": race})
    row = next(row for row in summary.rows if "/more" in row.checkpoint)
    assert (row.conditions.left_race_at, row.conditions.n_generated) == (None, 300)
    assert outcome.outside == {row.checkpoint: "it has no elbo"}
    assert "1 did not race" in outcome.sentence
    assert outcome.images_in_full == 900


def test_who_has_another_likelihood_is_set_apart_and_scored_in_full(
    settings: dict[str, Any],
) -> None:
    """Its values are no more of the same quantity than in comparisons, which leave it apart."""
    odd = sorted(Path(label).stem for label in labels(settings))[-1]
    race = {"metric": "elbo", "first": 100, "rare": 0}
    apart = {"per_checkpoint": {f"*{odd}*": {"likelihood": "continuous_bernoulli"}}}
    summary, outcome = raced(settings | {"race": race} | apart)
    row = by_name(summary)[odd]
    assert row.conditions.likelihood == "continuous_bernoulli"
    assert (row.conditions.left_race_at, row.status) == (None, "scored")
    assert list(outcome.outside) == [row.checkpoint]
    assert "likelihood (continuous_bernoulli; in the race bernoulli)" in str(outcome.outside)
    assert row.checkpoint not in (*outcome.stayed, *outcome.left_at, outcome.best)
    assert outcome.images_in_full == 600


def labels(settings: dict[str, Any]) -> list[str]:
    return [row.checkpoint.label for row in prepare(make_spec(settings), ignore).rows]


@pytest.mark.parametrize(("metric", "metrics"), [("kid", "kid"), ("iwae", "losses,iwae")])
def test_other_metrics_race(metric: str, metrics: str, settings: dict[str, Any]) -> None:
    race = {"metric": metric, "first": 96, "rare": 0}
    more = {"metrics": metrics, "race": race, "iwae_draws": 4, "iwae_images": 200}
    summary, outcome = raced(settings | more)
    column = {row.checkpoint: row.value(metric) for row in summary.rows}
    choose = max if metric == "iwae" else min
    assert outcome.best == choose(column, key=lambda name: column[name])
    # IWAE's shards are of 50 // 8 images: 96 is 16 of them, and all are 200.
    assert outcome.looks == ((96, 192, 200) if metric == "iwae" else (100, 200, 300))


def test_too_few_images_for_a_frechet_distance_are_refused(settings: dict[str, Any]) -> None:
    # 16 features need 79 images; the last look has 50.
    spec = settings | {"race": {"metric": "fid", "first": 50, "rare": 0, "max": 50}}
    with pytest.raises(InputError, match=r"race by fid_corrected: 50 generated .* race by kid"):
        raced(spec)
    # A first look at 50 is none: nobody leaves at it.
    _, outcome = raced(settings | {"race": {"metric": "fid", "first": 50, "rare": 0}})
    assert 50 not in outcome.left_at.values()


def test_a_race_in_which_nobody_could_leave_is_refused(settings: dict[str, Any]) -> None:
    """By default 1 of 500 images may carry an advantage: 300 do not show it."""
    for race in ("elbo", {"metric": "fid", "first": 100}):
        with pytest.raises(InputError, match=r"before [12],\d+ samples, .* rare = 0 in"):
            raced(settings | {"race": race})
    # The only look is at all samples: it saves nothing.
    with pytest.raises(InputError, match="at all 300 samples, so that it saves nothing; race by k"):
        raced(settings | {"race": {"metric": "fid", "first": 300, "rare": 0}})


def test_a_first_look_that_is_moved_is_said(settings: dict[str, Any]) -> None:
    """Of shards of 50, 90 samples are 100; a share of 4 % takes log(160)/.041 = 124 of them."""
    said: list[str] = []
    for race in ({"first": 90, "rare": 0}, {"first": 60, "rare": 0.04}):
        spec = make_spec(settings | {"race": {"metric": "elbo", **race}})
        opened = open_run(prepare(spec, ignore), lambda e: said.append(getattr(e, "text", "")))
        _, outcome = run_race(opened, SerialExecutor())
        assert outcome.looks[0] == (100 if race["rare"] == 0 else 150)
    moved = [text for text in said if "first look" in text]
    assert [text.partition(" (")[0] for text in moved] == [
        "race: the first look is at 100 samples instead of 90",
        "race: the first look is at 150 samples instead of 60",
    ]
    assert "carried by at least 4.00% of the images" in outcome.sentence


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"race": "ssim"}, ["--race = 'ssim'", "one of elbo"]),
        ({"race": {"first": 100}}, ["race.metric is required"]),
        ({"race": {"metric": "fid", "alpha": 1.0}}, ["race.alpha = 1.0"]),
        ({"race": {"metric": "fid", "first": 100, "max": 50}}, ["max is 50", "first, 100"]),
        ({"race": {"metric": "fid", "until": 1}}, ["race.until"]),
        ({"race": "kid", "metrics": "losses,fid"}, ["add kid to --metrics"]),
        ({"race": "fid", "keep_activations": "best"}, ["keep_activations = 'best'", "prune"]),
        ({"race": "fid", "select": "elbo"}, ["select is elbo", "race is by fid"]),
    ],
)
def test_what_is_no_race_is_refused(
    settings: dict[str, Any], more: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        make_spec(settings | more)
    for word in words:
        assert word in str(caught.value)


def test_a_metric_alone_is_a_race(settings: dict[str, Any]) -> None:
    assert make_spec(settings | {"race": "elbo"}).race == RaceSettings(metric="elbo")
