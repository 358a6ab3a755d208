"""Paired comparisons, the choice of the best, its confirmation, and metrics added afterwards."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student
from support.models.toy_models import save_pair
from support.runs.serial_runs import settings_of
from support.stores.score_rows import changed
from typer.testing import CliRunner, Result

from vae_batch.cli import app
from vae_batch.evaluation import evaluate
from vae_batch.metrics.catalogue import COMPARED, METRICS
from vae_batch.plan import InputError, make_spec
from vae_batch.report.bundle import is_drawn, write_report
from vae_batch.run.compare.best_checkpoint import (
    Selection,
    confirmed,
    read_selection,
    select_best,
)
from vae_batch.run.compare.pairwise import (
    compare_among,
    compare_rows,
    compare_run,
    paired_scores,
    rows_of_runs,
)
from vae_batch.run.compare.rescore import rescore
from vae_batch.run.execute.executor import SerialExecutor
from vae_batch.run.execute.score_run import run
from vae_batch.run.output.run_record import open_record, scored_rows
from vae_batch.run.output.verify import verify_output
from vae_batch.run.planning.open_run import prepare
from vae_batch.run.progress.events import ignore
from vae_batch.storage import Store, read_comparisons, read_score_rows, upsert_scores

GROUPS = "losses,reconstruction,fid,kid,inception_score"


@pytest.fixture(scope="module")
def finished(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings of a run over the three toy checkpoints that has been scored."""
    out = tmp_path_factory.mktemp("finished") / "out"
    runs, classifier = [str(toy_folder / "runs")], toy_folder / "classifier.keras"
    settings = settings_of(runs, classifier, out, metrics=GROUPS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vae_batch.report.bundle.write_report", lambda _: [])
        evaluate(make_spec(settings), ignore)
    return settings


def score(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Score and compare without the report, whose pictures take most of a small run's time."""
    run(prepare(make_spec(settings), ignore), SerialExecutor(), ignore)
    return compare_run(settings["out"])


@pytest.mark.usefixtures("no_figures")
def test_the_report_is_noted_as_drawn_until_rows_change(
    finished: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copytree(finished["out"], tmp_path / "out")
    out = Store.open(str(tmp_path / "out"))
    assert not is_drawn(out)
    write_report(out)
    assert is_drawn(out)
    upsert_scores(out, [changed(read_score_rows(out)[0], scored_at="later")])
    assert not is_drawn(out)


def selected(settings: dict[str, Any], metric: str) -> Selection | None:
    among = partial(compare_among, settings["out"])
    return select_best(
        compare_run(settings["out"]), make_spec(settings | {"select": metric}), among
    )


def losses_of(settings: dict[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    rows = scored_rows(settings["out"], open_record(settings["out"]))
    names = ["kl", "reconstruction_nll"]
    return {row.row.checkpoint: row.parts.columns("losses", names) for row in rows}


def test_elbo_differences_are_paired_image_by_image(finished: dict[str, Any]) -> None:
    elbo = {
        name: -(stored["kl"] + stored["reconstruction_nll"])
        for name, stored in losses_of(finished).items()
    }
    rows = [row for row in read_comparisons(Store.open(finished["out"])) if row.metric == "elbo"]
    best = max(elbo, key=lambda name: elbo[name].mean())
    assert {row.best for row in rows} == {best}
    p_values = []
    for row in rows:
        assert row.value == pytest.approx(elbo[row.checkpoint].mean(), rel=1e-12)
        assert (row.extractor, row.n) == (None, 100)
        if row.checkpoint == best:
            assert row.is_best
            assert row.from_best is None
            continue
        difference = elbo[row.checkpoint] - elbo[best]
        error = difference.std(ddof=1) / 10  # sqrt of 100 images
        half = student.ppf(0.975, 99) * error
        assert row.from_best.value == pytest.approx(difference.mean(), rel=1e-9)
        assert row.from_best.low == pytest.approx(difference.mean() - half, rel=1e-9)
        assert row.from_best.high == pytest.approx(difference.mean() + half, rel=1e-9)
        p_values.append((2 * student.sf(abs(difference.mean()) / error, 99), row))
    # Holm over two comparisons: the smaller p counts twice, the larger once but not below it.
    p_values.sort(key=lambda pair: pair[0])
    (smaller, first), (larger, second) = p_values
    assert first.from_best.p == pytest.approx(min(1.0, 2 * smaller), rel=1e-6)
    assert second.from_best.p == pytest.approx(max(2 * smaller, larger), rel=1e-6)
    for row in rows:
        assert row.level_with_best == (row.is_best or row.from_best.p > 0.05)


def test_each_step_is_compared_with_the_one_before_it_in_its_folder(
    finished: dict[str, Any], tmp_path: Path
) -> None:
    rows = [row for row in read_comparisons(Store.open(finished["out"])) if row.metric == "kid"]
    assert [row.step for row in rows] == [1, 2, 3]
    assert [row.previous for row in rows] == [None, *(row.checkpoint for row in rows[:2])]
    for folder, seed in (("a", 1), ("b", 5)):
        for step in (1, 2):
            save_pair(tmp_path / f"runs/{folder}/step-{step}", seed=seed + step)
    out = str(tmp_path / "out")
    settings = finished | {"checkpoints": [str(tmp_path / "runs")], "out": out, "metrics": "losses"}
    rows = [row for row in score(settings) if row.metric == "elbo"]
    previous = {Path(row.checkpoint).parts[-2:]: row.previous for row in rows}
    assert previous[("a", "step-1")] is None
    assert previous[("b", "step-1")] is None
    assert str(previous[("a", "step-2")]).endswith("a/step-1")
    assert str(previous[("b", "step-2")]).endswith("b/step-1")


@pytest.mark.usefixtures("no_report")
def test_rows_of_other_conditions_are_never_subtracted(
    finished: dict[str, Any], tmp_path: Path
) -> None:
    """One checkpoint read as gaussian: its ELBO stands alone, its pixel errors do not."""
    out = str(tmp_path / "out")
    declared = {"*step-0002": {"likelihood": "gaussian", "sigma": 0.5}}
    settings = finished | {
        "out": out,
        "per_checkpoint": declared,
        "metrics": "losses,reconstruction",
    }
    evaluate(make_spec(settings), ignore)
    rows = read_comparisons(Store.open(out))
    bests = {
        metric: {row.checkpoint[-14:]: row.best for row in rows if row.metric == metric}
        for metric in ("elbo", "mse")
    }
    alone = next(row for row in rows if row.metric == "elbo" and "step-0002" in row.checkpoint)
    assert alone.is_best
    assert alone.from_best is None
    assert len(set(bests["elbo"].values())) == 2
    assert len(set(bests["mse"].values())) == 1


@pytest.mark.usefixtures("no_report")
def test_a_biased_frechet_distance_is_not_compared(
    finished: dict[str, Any], tmp_path: Path
) -> None:
    """60 samples for 16 dimensions are fewer than 4.88 each: the kernel distance decides."""
    settings = finished | {"samples": 60, "out": str(tmp_path / "out")}
    evaluation = evaluate(make_spec(settings), ignore)
    assert all("bias-dominated" in row.score("fid").warning for row in evaluation.summary.rows)
    assert all(row.value("fid_low") is None for row in evaluation.summary.rows)
    assert all("no interval" in row.score("fid_low").reason.text for row in evaluation.summary.rows)
    assert {row.metric for row in read_comparisons(Store.open(settings["out"]))} >= {"kid"}
    assert evaluation.selection is not None
    assert evaluation.selection.metric == "kid"
    with pytest.raises(
        InputError, match=r"--select fid_corrected: .*4\.88 images per feature dimension"
    ):
        evaluate(make_spec(settings | {"select": "fid"}), ignore)


def test_the_best_is_named_with_its_rivals(finished: dict[str, Any]) -> None:
    selection = read_selection(Store.open(finished["out"]))
    assert selection is not None
    rows = {row.checkpoint: row for row in read_score_rows(Store.open(finished["out"]))}
    best = min(rows, key=lambda name: rows[name].value("fid_corrected"))
    assert (selection.metric, selection.steps[0].leader) == ("fid_corrected", best)
    assert selection.compared == 3
    assert selection.steps[0].value == pytest.approx(rows[best].value("fid_corrected"), rel=1e-12)
    assert best in selection.sentence
    assert "95 % CI" in selection.sentence
    assert selection.confirmation is None
    by_elbo = selected(finished, "elbo")
    assert by_elbo is not None
    assert by_elbo.best == max(rows, key=lambda name: rows[name].value("elbo"))


@pytest.mark.parametrize("metric", [m.column for m in COMPARED])
def test_a_verdict_has_the_number_of_the_score_table(finished: dict[str, Any], metric: str) -> None:
    rows = read_score_rows(Store.open(finished["out"]))
    if metric in ("iwae", "ssim"):
        pytest.skip(f"{metric} is not among the scores of this run")
    selection = selected(finished, metric)
    assert selection is not None
    assert selection.metric == metric
    leader = selection.steps[0].leader
    (value,) = (row.value(metric) for row in rows if row.checkpoint == leader)
    assert selection.steps[0].value == value
    is_decided = len(selection.steps) == 1 and not selection.tied
    assert f", {value:.5g}, n = " in selection.sentence or not is_decided
    compared = [row for row in compare_run(finished["out"]) if row.metric == metric]
    assert {row.checkpoint: row.value for row in compared} == {
        row.checkpoint: row.value(metric) for row in rows
    }


@pytest.mark.parametrize("asked", ["fid", "inception_score"])
def test_what_stands_for_a_biased_metric_is_named(finished: dict[str, Any], asked: str) -> None:
    spec = make_spec(finished | {"select": asked, "tolerance": {asked: 0.5}})
    assert (spec.select, spec.tolerance) == (f"{asked}_corrected", {f"{asked}_corrected": 0.5})
    selection = selected(finished, asked)
    assert selection is not None
    assert selection.metric == f"{asked}_corrected"
    assert f"by {METRICS[selection.metric].short}" in selection.sentence


def test_an_unknown_metric_is_refused_with_those_that_may_stand_there() -> None:
    few = {"checkpoints": ["runs"], "reference": "digits"}
    for settings in ({"select": "fud"}, {"race": "fud"}, {"tolerance": {"fud": 1.0}}):
        with pytest.raises(InputError, match=r"fud is no metric; expected one of .*kid"):
            make_spec(few | settings)
    with pytest.raises(InputError, match="psnr is not compared between checkpoints"):
        make_spec(few | {"select": "psnr"})
    with pytest.raises(InputError, match="no group of metrics is named fud; expected all, or some"):
        make_spec(few | {"metrics": "losses,fud"})


@pytest.mark.usefixtures("no_figures")
def test_confirmation_measures_the_best_two_on_fresh_seeds(
    finished: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = finished | {"out": str(tmp_path / "out"), "metrics": "losses,kid", "select": "elbo"}
    evaluation = evaluate(make_spec(settings | {"confirm": True}), ignore)
    selection = evaluation.selection
    assert selection is not None
    assert selection.confirmation is not None
    fresh = read_score_rows(Store.open(str(tmp_path / "out/confirmation")))
    assert {row.checkpoint for row in fresh} == {selection.best, selection.second}
    assert {row.conditions.seed for row in fresh} == {1_000_003}
    assert not list((tmp_path / "out/confirmation").glob("reference*"))  # shared, not made again
    fresh = compare_run(str(tmp_path / "out/confirmation"))
    again = confirmed(selection, fresh, read_score_rows(Store.open(settings["out"])))
    assert selection.confirmation == again
    page = (tmp_path / "out/report.html").read_text()
    assert "fresh seeds" in page
    found = verify_output(settings["out"])
    assert (found.bad, found.unfinished) == ((), 0)  # of the confirmation, too
    kept = evaluate(make_spec(settings), ignore).selection
    assert kept == selection  # scored again without --confirm, under the same conditions
    monkeypatch.chdir(tmp_path)  # a folder is the same whatever it is called
    near = settings | {"out": "out/", "keep_activations": "none", "confirm": True}
    assert evaluate(make_spec(near), ignore).selection == selection
    found = verify_output("out")
    assert (found.bad, found.unfinished) == ((), 0)
    assert found.pruned > 0
    other = evaluate(make_spec(settings | {"select": "kid"}), ignore).selection
    assert other is not None
    assert other.confirmation == replace(selection.confirmation, is_stale=True)
    assert "stale confirmation" in other.sentences[1]
    save_pair(tmp_path / "more/step-0009", seed=9)
    more = settings | {"checkpoints": [*settings["checkpoints"], str(tmp_path / "more")]}
    wider = evaluate(make_spec(more), ignore).selection
    assert wider is not None
    same_pair = (wider.best, wider.second) == (selection.best, selection.second)
    assert wider.confirmation.is_stale is not same_pair


def test_metrics_are_added_without_the_models(
    finished: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, runs = tmp_path / "out", tmp_path / "runs"
    shutil.copytree(finished["checkpoints"][0], runs)
    settings = finished | {"out": str(out), "checkpoints": [str(runs)], "metrics": "losses,fid"}
    score(settings)
    before = read_score_rows(Store.open(str(out)))
    assert all("not requested" in row.score("kid").reason.text for row in before)
    shutil.rmtree(runs)
    shards = {path: path.stat().st_mtime_ns for path in out.rglob("part-0*")}
    monkeypatch.setattr("vae_batch.report.bundle.write_report", lambda _: [])
    done = CliRunner().invoke(
        app, ["rescore", str(out), "--metrics", "kid,precision,iwae", "--json"]
    )
    assert done.exit_code == 3, done.output
    assert "not added: iwae (needs the model" in done.stderr
    after = read_score_rows(Store.open(str(out)))
    assert json.loads(done.stdout) == [row.to_record() for row in after]
    full = {row.step: row for row in read_score_rows(Store.open(finished["out"]))}
    for old, new in zip(before, after, strict=True):
        assert new.value("kid") == full[new.step].value("kid")
        assert new.score("kid").reason is None
        assert 0 <= new.value("precision") <= 1
        assert new.value("iwae") is None
        assert "needs the model" in new.score("iwae").reason.text
        kept = [name for name in ("elbo", "fid", "fid_corrected", "fingerprint", "mse_reason")]
        records = new.to_record(), old.to_record()
        assert len({tuple(record[name] for name in kept) for record in records}) == 1
    assert {path: path.stat().st_mtime_ns for path in out.rglob("part-0*")} == shards
    metrics = {row.metric for row in compare_run(str(out))}
    assert {"fid_corrected", "kid", "elbo"} <= metrics  # influences of both runs are there


@pytest.mark.usefixtures("no_figures")
def test_rescoring_says_what_could_not_be_added(finished: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished["out"], out)
    before = (out / "scores.parquet").read_bytes()

    def call(groups: str) -> Result:
        return CliRunner().invoke(app, ["rescore", str(out), "--metrics", groups])

    nothing = call("memorisation")
    assert nothing.exit_code == 2
    assert nothing.stderr.count("nothing added") == 3
    assert "nothing could be added: memorisation (needs the training images" in nothing.stderr
    some = call("kid,memorisation")
    assert some.exit_code == 3
    assert "step-0001 [classifier@" in some.stderr
    assert "]: kid\n" in some.stderr
    assert "not added: memorisation (needs the training images; give --training" in some.stderr
    assert call("kid").exit_code == 0
    assert before != (out / "scores.parquet").read_bytes()
    assert verify_output(str(out)).bad == ()  # the selection is that of the new comparisons


def test_rescoring_a_damaged_file_says_what_to_do(finished: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished["out"], out)
    part = next(out.glob("activations/*/*/part-0*.parquet"))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(bytes(content))
    with pytest.raises(InputError, match="differs from its receipt; run `vae-batch score` again"):
        list(rescore(str(out), ["kid"]))
    assert json.loads((out / "selection.json").read_text())["metric"] == "fid_corrected"


def test_two_runs_are_compared_under_the_same_conditions_only(
    finished: dict[str, Any], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    save_pair(tmp_path / "runs/step-0002", seed=9)
    settings = finished | {"checkpoints": [str(tmp_path / "runs")], "metrics": "losses,kid"}
    score(settings | {"out": str(other)})
    rows = compare_rows(rows_of_runs(finished["out"], str(other)), ("kid",))
    assert len(rows) == 4
    assert len({row.best for row in rows}) == 1
    twice = {row.checkpoint for row in compare_rows(rows_of_runs(str(other), str(other) + "/"))}
    assert len(twice) == 2  # the same run twice: told apart by folder
    score(settings | {"out": str(tmp_path / "seed"), "seed": 4})
    with pytest.raises(InputError, match=r"do not compare: seed \(0, 4\)"):
        rows_of_runs(finished["out"], str(tmp_path / "seed"))


def test_a_reference_that_is_the_population_is_another_condition(
    finished: dict[str, Any], tmp_path: Path
) -> None:
    """Then only the generated side is corrected, and nothing is compared with a sample's rows."""
    out = str(tmp_path / "population")
    score(finished | {"metrics": "fid,kid", "out": out, "reference_is": "population"})
    for before, row in zip(
        read_score_rows(Store.open(finished["out"])), read_score_rows(Store.open(out)), strict=True
    ):
        kinds = (before.conditions.reference_is, row.conditions.reference_is)
        assert kinds == ("sample", "population")
        assert row.value("fid") == before.value("fid")
        # The bias of both sides is larger than that of one, and so is the error.
        corrected, one_sided = (r.score("fid_corrected") for r in (before, row))
        assert corrected.value < one_sided.value < row.value("fid")
        assert 0 < one_sided.standard_error < corrected.standard_error
    stored = [paired_scores(row)["fid_corrected"] for row in scored_rows(out, open_record(out))]
    assert all(score.reference_influence is None for score in stored)
    folder = finished["out"]
    of_samples = [
        paired_scores(row)["fid_corrected"] for row in scored_rows(folder, open_record(folder))
    ]
    assert all(len(score.reference_influence) > 0 for score in of_samples)
    with pytest.raises(InputError, match=r"reference_is \('sample', 'population'\)"):
        rows_of_runs(folder, out)
