"""Log-variance, log standard deviation or standard deviation: names, signs and draws."""

from __future__ import annotations

import numpy as np
import pytest

from vae_batch.models.autoencoder.second_head import (
    DRAWS,
    HeadValues,
    _tolerance,
    decide_kind,
    kinds_of_draws,
    row_to_draw,
)
from vae_batch.plan import CheckpointError

#: Standard deviations of a trained posterior with one inactive dimension.
STD = np.array([0.05, 0.3, 0.8, 1.0], np.float32)
HEADS = {"logvar": 2 * np.log(STD), "log_std": np.log(STD), "std": STD, "variance": STD**2}


def values(
    second: np.ndarray, std: np.ndarray | None = None, seed: int = 0, mean: float = 1.5
) -> HeadValues:
    """One input's heads, and draws of mean + std * noise."""
    second = second.astype(np.float32)[None]
    centre = np.full_like(second, mean)
    if std is None:
        return HeadValues(centre, second)
    noise = np.random.default_rng(seed).normal(size=(DRAWS, second.shape[1]))
    return HeadValues(centre, second, (centre + std * noise).astype(np.float32), 0)


@pytest.mark.parametrize("kind", ["logvar", "log_std", "std", "variance"])
def test_draws_tell_the_readings_apart(kind: str) -> None:
    for seed in range(50):
        assert kinds_of_draws(values(HEADS[kind], STD, seed)) == {kind}


@pytest.mark.parametrize("kind", ["logvar", "log_std"])
def test_one_dimension_is_enough(kind: str) -> None:
    """At s = -2.4 the readings are 2.4 apart: exp(-2.4) against exp(-4.8)."""
    std = np.array([0.301], np.float32)
    head = np.log(std) * (2 if kind == "logvar" else 1)
    for seed in range(200):
        assert kinds_of_draws(values(head, std, seed)) == {kind}


@pytest.mark.parametrize("dimensions", [1, 2, 8, 200])
def test_the_true_reading_always_fits(dimensions: int) -> None:
    """20,000 draws of chi-squared variances stay below a tolerance made for one in 10^8."""
    draw = np.random.default_rng(0)
    variances = draw.chisquare(DRAWS - 1, (20_000, dimensions)) / (DRAWS - 1)
    misfit = np.sqrt((np.log(variances) ** 2).mean(axis=1))
    assert misfit.max() < _tolerance(dimensions) < 0.57


def test_readings_that_are_close_are_left_open() -> None:
    """At s = -0.4 the readings are 0.4 apart, less than twice the tolerance of 0.25."""
    head = np.full(8, -0.4, np.float32)
    for seed in range(50):
        assert kinds_of_draws(values(head, np.exp(head / 2), seed)) == {"logvar", "log_std"}
    head = np.full(8, -0.6, np.float32)
    for seed in range(50):
        assert kinds_of_draws(values(head, np.exp(head / 2), seed)) == {"logvar"}


def test_a_collapsed_posterior_leaves_two_readings() -> None:
    """At s = 0 the standard deviation is 1 as log-variance and as log standard deviation."""
    ones = np.ones(4, np.float32)
    assert kinds_of_draws(values(np.zeros(4), ones)) == {"logvar", "log_std"}


def test_half_precision_does_not_mislead() -> None:
    """Draws of a narrow posterior around 1.5 rounded to 8 bits, as bfloat16 keeps them."""
    std = np.array([0.001, 0.002, 0.5, 0.9], np.float32)
    drawn = values(2 * np.log(std), std)
    assert drawn.draws is not None
    rounded = np.round(drawn.draws * 128) / 128
    both = HeadValues(drawn.mean, drawn.second, rounded.astype(np.float32), 0)
    assert kinds_of_draws(both) == {"logvar"}


def test_tempered_sampling_fits_nothing() -> None:
    assert kinds_of_draws(values(HEADS["logvar"], 0.1 * STD)) == frozenset()


def test_the_most_telling_input_is_drawn() -> None:
    second = np.array([[0.1, 0.1], [-2.0, 1.0], [-9.0, 0.0], [0.5, -0.5]], np.float32)
    assert row_to_draw(second) == 2  # 9 counts as 4: (4 + 0) / 2 against (2 + 1) / 2
    # Without negative values it may be a standard deviation, which is like a variance at 1.
    assert row_to_draw(np.array([[1.0, 1.1], [0.3, 1.0], [0.9, 1.2]], np.float32)) == 1


@pytest.mark.parametrize(
    ("name", "head", "drawn", "verdict"),
    [
        ("z_log_var", "logvar", False, "logvar"),
        ("z_log_var", "logvar", True, "logvar"),
        ("log_std", "log_std", True, "log_std"),
        ("log_std", "log_std", False, "log_std"),
        ("std", "std", False, "std"),
        ("z_log_sigma", "logvar", True, "logvar"),
        ("z_log_sigma", "log_std", True, "log_std"),
        ("latent_sigma", "logvar", True, "logvar"),  # tutorials sample with exp(sigma / 2)
        ("latent_sigma", "std", True, "std"),
        ("latent_sigma", "std", False, "std"),
        ("z_var", "logvar", False, "logvar"),
        ("dense_1", "logvar", False, "logvar"),  # by convention
        ("dense_1", "log_std", True, "log_std"),
        ("dense_1", "std", True, "std"),
    ],
)
def test_verdicts(name: str, head: str, drawn: bool, verdict: str) -> None:
    kind, decision, warnings = decide_kind(
        name, values(HEADS[head], STD if drawn else None), None, "no draws"
    )
    assert (kind, warnings) == (verdict, [])
    assert repr(name) in decision.how
    assert ("256 draws of z agree" in decision.how) == drawn


@pytest.mark.parametrize(
    ("name", "head", "drawn", "sentence"),
    [
        ("z_log_sigma", "logvar", False, "may be a log-variance or log standard deviation"),
        ("latent_sigma", "logvar", False, "may be a log-variance or log standard deviation"),
        ("dense_1", "std", False, "log standard deviation or standard deviation or variance"),
        ("z_std", "logvar", False, "says standard deviation, but it has negative values"),
        ("z_log_var", "log_std", True, "have the variance of a log standard deviation"),
        ("log_sigma", "std", True, "have the variance of a standard deviation"),
        ("z_var", "variance", True, "is a variance; save an encoder"),
    ],
)
def test_doubts_are_refused(name: str, head: str, drawn: bool, sentence: str) -> None:
    with pytest.raises(CheckpointError, match=sentence) as refusal:
        decide_kind(name, values(HEADS[head], STD if drawn else None), None, "no draws")
    assert "--second-head" in str(refusal.value) or "logarithm" in str(refusal.value)


def test_tempered_draws_warn_of_a_named_head_and_stop_a_nameless_one() -> None:
    tempered = values(HEADS["logvar"], 0.1 * STD)
    kind, _, warnings = decide_kind("z_log_var", tempered, None, "")
    assert kind == "logvar"
    assert "may be tempered" in warnings[0]
    with pytest.raises(CheckpointError, match=r"tempered.*--second-head"):
        decide_kind("dense_1", tempered, None, "")


def test_a_declaration_wins() -> None:
    kind, decision, warnings = decide_kind("z_log_var", values(HEADS["log_std"]), "log_std", "")
    assert (kind, decision.how, warnings) == ("log_std", "declared by --second-head", [])
    _, _, warnings = decide_kind("z_log_var", values(HEADS["logvar"], STD), "log_std", "")
    assert "is that of a log-variance" in warnings[0]
    with pytest.raises(CheckpointError, match="negative values, which no standard deviation has"):
        decide_kind("std", values(HEADS["logvar"]), "std", "")
