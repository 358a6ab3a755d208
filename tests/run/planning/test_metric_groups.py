"""A group of metrics that is not asked for costs nothing: no weights, no files, no downloads."""

from __future__ import annotations

from typing import Any

import pytest

from vae_batch.dry_run import dry_run
from vae_batch.evaluation import evaluate
from vae_batch.metrics.catalogue import GROUPS, METRICS
from vae_batch.plan import InputError, make_spec
from vae_batch.plan.spec import WITHOUT_EXTRACTOR
from vae_batch.run.output.run_record import open_record
from vae_batch.run.progress.events import ignore
from vae_batch.storage import Store, read_score_rows

#: Groups that read no activations, alone and together.
LIGHT = ("losses", "latents", "iwae", "reconstruction", "losses,iwae,latents")

#: Some of the columns that a group gives for these checkpoints; most groups give all.
UNDEFINED = {
    "fid": ("fid_corrected", "fid_low", "fid_high"),  # 40 images for 16 dimensions
    "kid": ("kid_subsets", "kid_subsets_std"),
    "losses": ("beta_objective",),
    "iwae": ("iwae_pareto_k",),
    "reconstruction": ("ssim", "ms_ssim"),
}


@pytest.fixture
def settings(toy_settings: dict[str, Any]) -> dict[str, Any]:
    few = {"samples": 40, "reference_samples": 40, "iwae_draws": 4, "iwae_images": 20}
    checkpoint = toy_settings["checkpoints"][0] + "/step-0001"
    return toy_settings | few | {"checkpoints": [checkpoint], "splits": 2}


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for weights, or downloading anything, fails the test."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("nothing was to be looked for or downloaded")

    monkeypatch.setattr("vae_batch.models.extractors.inception.extractor.find_weights", fail)
    monkeypatch.setattr("vae_batch.models.references.reference._from_keras", fail)


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("group", [*GROUPS, "losses,iwae,latents", "inception_score,losses"])
def test_each_group_alone_plans_what_it_computes(settings: dict[str, Any], group: str) -> None:
    spec = make_spec(settings | {"metrics": group, "training": "train", "training_samples": 60})
    planned = dry_run(spec, ignore)
    (row,) = evaluate(spec, ignore).summary.rows
    assert row.status == "scored", row.reason
    asked = {c for c, metric in METRICS.items() if metric.group in group.split(",")}
    absent = {c for name in group.split(",") for c in UNDEFINED.get(name, ())}
    valued = {c for c in asked if row.value(c) is not None}
    assert valued == asked - absent, {c: row.score(c).reason for c in asked - absent - valued}
    assert all(row.score(c).reason.code == "not_requested" for c in METRICS if c not in asked)
    done = dry_run(spec, ignore)
    assert (done.estimate.shards, done.open_rows) == (0, 0)
    assert planned.estimate.shards > 0


@pytest.mark.usefixtures("no_report", "no_weights")
@pytest.mark.parametrize("group", LIGHT)
def test_groups_without_an_extractor_look_for_none(settings: dict[str, Any], group: str) -> None:
    spec = make_spec(settings | {"metrics": group, "extractors": ["inception-2015"]})
    assert dry_run(spec, ignore).open_rows == 1
    (row,) = evaluate(spec, ignore).summary.rows
    assert row.key[1] == WITHOUT_EXTRACTOR
    assert not any(unit.extractor for unit in open_record(spec.out).rows[0].units.values())


@pytest.mark.usefixtures("no_report")
def test_rows_without_an_extractor_give_way_to_those_with_one(settings: dict[str, Any]) -> None:
    evaluate(make_spec(settings | {"metrics": "losses"}), ignore)
    (before,) = read_score_rows(Store.open(settings["out"]))
    evaluate(make_spec(settings | {"metrics": "losses,kid"}), ignore)
    (after,) = read_score_rows(Store.open(settings["out"]))
    assert before.key[1] == WITHOUT_EXTRACTOR != after.key[1]
    assert after.value("elbo") == before.value("elbo")
    assert [row.extractor for row in open_record(settings["out"]).rows] == [after.key[1]]


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"checkpoints": ["nothere/*"]}, "no checkpoint matches"),
        ({"reference": "mnits"}, "did you mean 'mnist'"),
        ({"extractors": ["inception-2051"]}, "did you mean inception-2015"),
        ({"extractors": ["missing.keras"]}, "cannot be read"),
        ({"weights": ["missing.h5"]}, "do not exist"),
        ({"select": "kid", "metrics": "losses,fid"}, "--metrics has no kid; add kid"),
        ({"per_checkpoint": {"*nothere": {"beta": 1.0}}}, "matches no checkpoint"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_what_can_be_refused_at_once_is_refused_before_any_download(
    settings: dict[str, Any], changed: dict[str, Any], words: str
) -> None:
    heavy = {"extractors": ["inception-2015"], "reference": "fashion_mnist"}
    for job in (evaluate, dry_run):
        with pytest.raises(InputError, match=words):
            job(make_spec(settings | heavy | changed), ignore)


@pytest.mark.usefixtures("no_report", "no_weights")
def test_a_folder_of_other_settings_is_refused_before_any_download(
    settings: dict[str, Any],
) -> None:
    evaluate(make_spec(settings | {"metrics": "losses"}), ignore)
    other = {"extractors": ["inception-2015"], "reference": "fashion_mnist", "seed": 5}
    with pytest.raises(InputError, match=r"belongs to another run .*: seed: found 0, this run"):
        evaluate(make_spec(settings | other), ignore)
