"""The promises of a run, on real Keras files, without a cluster."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.models.toy_models import make_decoder, make_encoder, save_pair
from support.stores import score_rows

from vae_batch.metrics import bits_per_dim, frechet_distance, inception_score
from vae_batch.plan import InputError, make_spec
from vae_batch.run.execute.executor import SerialExecutor, Task
from vae_batch.run.execute.score_run import RunSummary, run
from vae_batch.run.execute.worker import ShardOutcome
from vae_batch.run.planning.open_run import prepare
from vae_batch.run.planning.worker_config import WorkerConfig
from vae_batch.run.progress.events import ignore
from vae_batch.run.progress.status import run_status
from vae_batch.storage import Store, decode_columns


def score(settings: dict[str, Any], executor: Any = None) -> RunSummary:
    plan = prepare(make_spec(settings), ignore)
    return run(plan, executor or SerialExecutor(), ignore)


def numbers(summary: RunSummary) -> list[dict[str, Any]]:
    return score_rows.numbers(summary.rows)


class CountingExecutor(SerialExecutor):
    """Notes every shard it computes; dies after so many, as a killed driver does."""

    def __init__(self, dies_after: int | None = None) -> None:
        self.computed: list[str] = []
        self.dies_after = dies_after

    def run_shards(self, tasks: Sequence[Task], config: WorkerConfig) -> Iterator[ShardOutcome]:
        for outcome in super().run_shards(tasks, config):
            self.computed.append(f"{outcome.unit}/{outcome.shard.name}")
            if len(self.computed) == self.dies_after:
                raise KeyboardInterrupt
            yield outcome


def test_rows_hold_what_the_stored_files_say(toy_settings: dict[str, Any]) -> None:
    """Each score, computed anew from the Parquet files by the metrics alone."""
    summary = score(toy_settings)
    assert [(row.status, row.step) for row in summary.rows] == [("scored", s) for s in (1, 2, 3)]
    out = Path(toy_settings["out"])
    real = columns_below(next(out.glob("reference/*/activations/*")))
    for row in summary.rows:
        folder = next(out.glob(f"activations/*{row.conditions.checkpoint_sha256[:12]}/*"))
        generated = columns_below(folder)
        np.testing.assert_array_equal(generated["index"], np.arange(150))
        assert generated["features"].shape == (150, 16)
        expected = frechet_distance(generated["features"], real["features"])
        np.testing.assert_allclose(row.value("fid"), expected, rtol=1e-10)
        scores = inception_score(generated["probabilities"], splits=5)
        np.testing.assert_allclose(row.value("inception_score"), scores.mean, rtol=1e-12)
        np.testing.assert_allclose(row.value("inception_score_std"), scores.std, rtol=1e-9)
        losses = columns_below(next(out.glob(f"losses/*{row.conditions.checkpoint_sha256[:12]}")))
        assert len(losses["kl"]) == row.conditions.n_reference == 100
        np.testing.assert_allclose(row.value("kl"), losses["kl"].mean(), rtol=1e-12)
        np.testing.assert_allclose(
            row.value("elbo"), -(losses["kl"] + losses["reconstruction_nll"]).mean(), rtol=1e-12
        )
        np.testing.assert_allclose(
            row.value("bits_per_dim"), bits_per_dim(-row.value("elbo"), 64), rtol=1e-12
        )


def columns_below(folder: Path) -> dict[str, np.ndarray]:
    parts = [decode_columns(path.read_bytes()) for path in sorted(folder.glob("*.parquet"))]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_losses_are_those_of_the_plain_model(toy_settings: dict[str, Any]) -> None:
    """Reconstruction NLL and KL of one checkpoint, written plainly in numpy from Keras outputs."""
    from scipy.special import ndtri
    from sklearn.datasets import load_digits

    from vae_batch.models.references.reference import open_reference

    summary = score(toy_settings | {"checkpoints": [toy_settings["checkpoints"][0] + "/step-0001"]})
    images = open_reference("digits", "test").read(0, 100).astype(np.float64) / 255
    assert load_digits().images.max() * 255 / 16 == 255
    mean, logvar = (np.asarray(v, np.float64) for v in make_encoder(1)(images.astype(np.float32)))
    kl = 0.5 * (mean**2 + np.exp(logvar) - 1 - logvar).sum(axis=1)
    words = np.random.Philox(key=[0, 2], counter=[0, 0, 0, 0]).random_raw(400).reshape(100, 4)
    noise = ndtri(((words[:, :3] >> np.uint64(11)) + 0.5) * 2.0**-53)
    z = mean + np.exp(logvar / 2) * noise
    p = np.asarray(make_decoder(1)(z.astype(np.float32)), np.float64)
    nll = -(images * np.log(p) + (1 - images) * np.log1p(-p)).sum(axis=(1, 2, 3))
    (row,) = summary.rows
    np.testing.assert_allclose(row.value("kl"), kl.mean(), rtol=1e-5)
    np.testing.assert_allclose(row.value("reconstruction_nll"), nll.mean(), rtol=1e-5)


def test_interrupted_twice_gives_the_same_bits_and_recomputes_nothing(
    toy_settings: dict[str, Any],
) -> None:
    toy_settings["metrics"] = "losses,fid,inception_score"
    quiet = score(toy_settings | {"out": toy_settings["out"] + "-quiet"})
    computed: list[str] = []
    for dies_after in (4, 7):
        executor = CountingExecutor(dies_after)
        with pytest.raises(KeyboardInterrupt):
            score(toy_settings, executor)
        computed += executor.computed
    states = {row.status for row in run_status(toy_settings["out"])}
    assert states == {"scored", "running", "waiting"}
    executor = CountingExecutor()
    resumed = score(toy_settings, executor)
    computed += executor.computed
    assert numbers(resumed) == numbers(quiet)
    # 100 reference images make 2 shards; 3 checkpoints have 3 + 2 + 1 + 1 shards each.
    assert len(computed) == len(set(computed)) == 2 + 3 * 7
    assert {row.status for row in run_status(toy_settings["out"])} == {"scored"}


def test_a_finished_run_computes_nothing(toy_settings: dict[str, Any]) -> None:
    first = score(toy_settings)
    executor = CountingExecutor()
    again = score(toy_settings, executor)
    assert executor.computed == []
    assert again.rows == first.rows  # scored_at too: the rows were not written again


def test_a_new_checkpoint_costs_its_own_shards_only(
    toy_settings: dict[str, Any], toy_folder: Path
) -> None:
    toy_settings["metrics"] = "losses,fid,inception_score"
    folder = toy_folder / "runs"
    score(toy_settings | {"checkpoints": [str(folder / "step-0001")]})
    executor = CountingExecutor()
    summary = score(toy_settings | {"checkpoints": [str(folder / "step-000[12]")]}, executor)
    assert len(summary.rows) == 2
    assert all("step-0002" in name for name in executor.computed)
    assert len(executor.computed) == 3 + 2 + 1 + 1  # generated, losses, gallery, description


def test_order_and_sharding_of_checkpoints_do_not_move_bits(toy_settings: dict[str, Any]) -> None:
    together = numbers(score(toy_settings))
    alone = score(
        toy_settings
        | {
            "out": toy_settings["out"] + "-alone",
            "checkpoints": [toy_settings["checkpoints"][0] + "/step-0002"],
        }
    )
    assert numbers(alone) == [together[1]]


@pytest.mark.parametrize("kind", ["activations", "losses", "reference/*/activations"])
def test_a_damaged_file_is_redone_alone(toy_settings: dict[str, Any], kind: str) -> None:
    first = numbers(score(toy_settings))
    out = Path(toy_settings["out"])
    victim = sorted(out.glob(f"{kind}/**/*.parquet"))[0]
    for stale in ["scores.parquet", *map(str, victim.parent.glob("*reduction*"))]:
        (out / stale).unlink()
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 4
    victim.write_bytes(content)
    executor = CountingExecutor()
    again = score(toy_settings, executor)
    assert numbers(again) == first
    assert len(executor.computed) == 1
    assert Path(victim).name.split("part-")[1].removesuffix(".parquet") in executor.computed[0]


def test_bad_checkpoints_cost_one_row_each(toy_settings: dict[str, Any], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(toy_settings["checkpoints"][0], runs)
    content = (runs / "step-0003.keras").read_bytes()
    (runs / "step-0004.keras").write_bytes(content[: len(content) // 2])
    shutil.copy(toy_settings["extractors"][0], runs / "step-0005.keras")
    save_pair(runs / "step-0006", seed=6)
    decoder = make_decoder(6)
    decoder.set_weights([np.full_like(w, np.nan) for w in decoder.get_weights()])
    decoder.save(runs / "step-0006/decoder.keras")
    save_pair(runs / "step-0007", seed=7)
    (runs / "step-0007/decoder.keras").unlink()
    save_pair(runs / "step-0008", seed=8, activation="linear")

    healthy = numbers(score(toy_settings | {"out": toy_settings["out"] + "-healthy"}))
    summary = score(toy_settings | {"checkpoints": [str(runs)]})
    reasons = {row.step: row.reason.text for row in summary.rows if row.status == "failed"}
    assert summary.failed == 4
    assert "truncated" in reasons[4]
    assert "no part of an autoencoder" in reasons[5]
    assert "NaN" in reasons[6]
    assert "diverged" in reasons[6]
    assert "declare --likelihood" in reasons[8]
    *scored, encoder_alone = [row for row in numbers(summary) if row["status"] == "scored"]
    assert encoder_alone["step"] == 7
    assert encoder_alone["kl"] > 0
    for name in ("elbo", "reconstruction_nll", "fid", "inception_score"):
        assert encoder_alone[name] is None
        assert "encoder alone" in encoder_alone[f"{name}_reason"]
    for row, expected in zip(scored, healthy, strict=True):
        same = {k: v for k, v in expected.items() if k not in ("checkpoint", "fingerprint")}
        assert {k: row[k] for k in same} == same


def test_what_scoring_cannot_do_costs_one_row(
    toy_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vae_batch.run.scoring import row as scoring

    add_losses = scoring.add_losses

    def fails_for_one(sheet: Any, parts: Any, description: Any) -> None:
        if "step-0002" in parts.units["losses"].path:
            raise TypeError("unforeseen")
        add_losses(sheet, parts, description)

    monkeypatch.setattr(scoring, "add_losses", fails_for_one)
    toy_settings["metrics"] = "losses"
    summary = score(toy_settings)
    assert [row.status for row in summary.rows] == ["scored", "failed", "scored"]
    assert summary.rows[1].reason.text == "it cannot be scored: TypeError: unforeseen"
    monkeypatch.undo()
    executor = CountingExecutor()
    again = score(toy_settings, executor)
    assert [row.status for row in again.rows] == ["scored"] * 3
    assert executor.computed == []


def test_failed_checkpoints_are_tried_again(toy_settings: dict[str, Any], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    save_pair(runs / "step-1", seed=1)
    good = (runs / "step-1/decoder.keras").read_bytes()
    (runs / "step-1/decoder.keras").write_bytes(b"half")
    settings = toy_settings | {"checkpoints": [str(runs)]}
    assert score(settings).failed == 1
    (runs / "step-1/decoder.keras").write_bytes(good)
    (row,) = score(settings).rows
    assert (row.status, row.reason) == ("scored", None)


def test_output_of_another_identity_is_refused(toy_settings: dict[str, Any]) -> None:
    score(toy_settings)
    before = Store.open(toy_settings["out"]).read("scores.parquet")
    with pytest.raises(InputError) as caught:
        score(toy_settings | {"seed": 1})
    assert "belongs to another run" in str(caught.value)
    assert "seed: found 0, this run has 1" in str(caught.value)
    assert "another --out" in str(caught.value)
    assert Store.open(toy_settings["out"]).read("scores.parquet") == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reference": "mnits"}, "mnits"),
        ({"checkpoints": ["nowhere/*.keras"]}, "no checkpoint matches nowhere"),
        ({"extractors": ["inception-keras2"]}, "did you mean inception-keras"),
        ({"extractors": ["missing.keras"]}, "missing.keras cannot be read"),
        ({"reference_samples": 100000}, "100000"),
    ],
)
def test_bad_input_computes_nothing(
    toy_settings: dict[str, Any], change: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        score(toy_settings | change)
    assert not list(Path(toy_settings["out"]).glob("activations/**/*.parquet"))


def test_reference_outside_its_declared_range(toy_settings: dict[str, Any], tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((20, 8, 8, 1)).astype(np.float32)
    images[7, 0, 0, 0] = 1.5
    np.save(tmp_path / "images.npy", images)
    change = {
        "reference": str(tmp_path / "images.npy"),
        "reference_range": "0..1",
        "reference_samples": None,
    }
    with pytest.raises(InputError, match="outside the declared range"):
        score(toy_settings | change)


def test_an_extractor_that_is_no_classifier_stops_the_run(
    toy_settings: dict[str, Any], toy_folder: Path
) -> None:
    decoder = str(toy_folder / "runs/step-0001/decoder.keras")
    with pytest.raises(InputError, match="expected images"):
        score(toy_settings | {"extractors": [decoder]})


def test_reference_cache_is_shared_between_outputs(
    toy_settings: dict[str, Any], tmp_path: Path
) -> None:
    cache = {"reference_cache": str(tmp_path / "cache")}
    first = numbers(score(toy_settings | cache))
    executor = CountingExecutor()
    other = toy_settings | cache | {"out": str(tmp_path / "other")}
    assert numbers(score(other, executor)) == first
    assert not any("images-" in name for name in executor.computed)


def test_gaussian_likelihood(toy_settings: dict[str, Any]) -> None:
    """Against the plain formula: bits carry those of levels 1/255 apart on [0, 1]."""
    summary = score(toy_settings | {"likelihood": "gaussian", "sigma": 0.5})
    for row in summary.rows:
        assert row.conditions.likelihood == "gaussian"
        expected = -row.value("elbo") / (64 * np.log(2)) + np.log2(255)
        np.testing.assert_allclose(row.value("bits_per_dim"), expected, rtol=1e-12)


def test_two_extractors_give_two_rows(toy_settings: dict[str, Any], toy_folder: Path) -> None:
    from support.models.toy_models import save_classifier

    other = toy_folder / "logits.keras"
    save_classifier(other, last="linear")
    extractors = [*toy_settings["extractors"], str(other)]
    settings = toy_settings | {"extractors": extractors, "class_output": "logits"}
    summary = score(settings)
    assert len(summary.rows) == 6
    by_extractor: dict[str, list[float]] = {}
    for row in summary.rows:
        by_extractor.setdefault(row.conditions.extractor.split("@")[0], []).append(
            row.value("inception_score")
        )
    # Equal weights, one with softmax and one with logits: the probabilities are the same.
    np.testing.assert_allclose(by_extractor["classifier"], by_extractor["logits"], rtol=1e-5)


@pytest.mark.slow
def test_random_weights_give_a_fid_and_no_inception_score(toy_settings: dict[str, Any]) -> None:
    change = {
        "checkpoints": [toy_settings["checkpoints"][0] + "/step-0001"],
        "extractors": ["inception-random"],
        "samples": 20,
        "reference_samples": 20,
    }
    (row,) = score(toy_settings | change).rows
    assert row.status == "scored"
    assert row.conditions.feature_dim == 2048
    assert row.value("fid") > 0
    assert "bias-dominated" in row.score("fid").warning
    assert row.value("inception_score") is None
    assert "random weights" in row.score("inception_score").reason.text
