"""Which output is the mean, which the second head, which z."""

from __future__ import annotations

import numpy as np
import pytest

from vae_batch.models.autoencoder.heads import ALL_KINDS, assign_roles, read_head_name, to_logvar
from vae_batch.plan import CheckpointError

MEAN, SECOND, Z = (np.full((2, 3), value, np.float32) for value in (0.5, -1.0, 2.0))


@pytest.mark.parametrize(
    ("name", "role", "kinds"),
    [
        ("z_mean", "mean", ALL_KINDS),
        ("mu", "mean", ALL_KINDS),
        ("latent_mu_3", "mean", ALL_KINDS),
        ("variational_mean", "mean", ALL_KINDS),
        ("loc", "mean", ALL_KINDS),
        ("z_log_var", "second", {"logvar"}),
        ("logVar_1", "second", {"logvar"}),
        ("encoder/z_log_var/BiasAdd:0", "second", {"logvar"}),
        ("z_log_variance", "second", {"logvar"}),
        ("log_sigma_sq", "second", {"logvar"}),
        ("log_sigma2", "second", {"logvar"}),
        ("log_std", "second", {"log_std"}),
        ("logstddev", "second", {"log_std"}),
        ("log_scale", "second", {"log_std"}),
        ("z_log_sigma", "second", {"logvar", "log_std"}),
        ("log_sigma_2", "second", {"logvar", "log_std"}),  # _2 is Keras' counter
        ("latent_sigma", "second", {"logvar", "log_std", "std"}),
        ("z_var", "second", {"logvar", "variance"}),
        ("std", "second", {"std"}),
        ("z_stddev", "second", {"std"}),
        ("scale", "second", {"std"}),
        ("z", "z", ALL_KINDS),
        ("sampling_1", "z", ALL_KINDS),
        ("reparameterization_trick", "z", ALL_KINDS),
        ("lambda", None, ALL_KINDS),  # a layer of any purpose
        ("latent", None, ALL_KINDS),
        ("dense_1", None, ALL_KINDS),
        ("last_dense", None, ALL_KINDS),
        ("output_0", None, ALL_KINDS),
        ("rescale", None, ALL_KINDS),
    ],
)
def test_names(name: str, role: str | None, kinds: set[str]) -> None:
    read = read_head_name(name)
    assert (read.role, set(read.kinds)) == (role, set(kinds))


@pytest.mark.parametrize(
    ("names", "random", "expected"),
    [
        (["z_mean", "z_log_var", "z"], [False] * 3, (0, 1, 2)),
        (["logvar", "mean", "z"], [False] * 3, (1, 0, 2)),  # keys of a dictionary, sorted
        (["z", "mu", "sigma"], [False] * 3, (1, 2, 0)),
        (["dense", "dense_1"], [False] * 2, (0, 1, None)),
        (["dense", "z_log_var"], [False] * 2, (0, 1, None)),
        (["z_log_var", "dense"], [False] * 2, (1, 0, None)),
        (["dense", "dense_1", "layer"], [False, False, True], (0, 1, 2)),
        (["layer", "dense", "dense_1"], [True, False, False], (1, 2, 0)),
        (["dense", "dense_1"], [False, True], (0, None, 1)),
        (["mean", "mean_1"], [False] * 2, (0, 1, None)),  # both say mean: position
        (["z", "z_log_var"], [False] * 2, (0, 1, None)),  # a z that is not drawn is the mean
    ],
)
def test_roles(
    names: list[str], random: list[bool], expected: tuple[int, int | None, int | None]
) -> None:
    roles = assign_roles(names, [MEAN, SECOND, Z][: len(names)], random)
    assert (roles.mean, roles.second, roles.z) == expected


def test_a_shimmed_z_equals_the_mean_wherever_it_stands() -> None:
    roles = assign_roles(["a", "b", "c"], [MEAN, MEAN, SECOND], [False] * 3)
    assert (roles.mean, roles.second, roles.z) == (0, 2, 1)
    assert roles.how == "the mean equals z, whose sampling layer returns the mean"
    roles = assign_roles(["a", "mu", "c"], [MEAN, MEAN, SECOND], [False] * 3)
    assert (roles.mean, roles.second, roles.z) == (1, 2, 0)


@pytest.mark.parametrize(
    ("names", "random", "how"),
    [
        (["z_mean", "z_log_var"], [False, False], "by the outputs' names"),
        (["dense", "dense_1"], [False, False], "by position, in the order mean, second head, z"),
        (["dense", "z_log_var"], [False, False], "by the outputs' names; by position, in the order "
         "mean, second head, z"),
        (["z_mean", "dense"], [False, True], "by the outputs' names; z differs between two runs"),
    ],
)  # fmt: skip
def test_how_roles_were_decided(names: list[str], random: list[bool], how: str) -> None:
    assert assign_roles(names, [MEAN, SECOND], random).how == how


@pytest.mark.parametrize(
    ("names", "random", "sentence"),
    [
        (["z_mean", "z_log_var"], [True, True], "'z_mean', 'z_log_var' differ between two runs"),
        (["z_mean", "z_log_var"], [True, False], "output 'z_mean' differs between two runs"),
        (["z", "z_log_var"], [True, False], "but no mean"),
    ],
)
def test_roles_that_cannot_be(names: list[str], random: list[bool], sentence: str) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        assign_roles(names, [MEAN, SECOND], random)


def test_second_heads_as_log_variance() -> None:
    """With std = 1/2: log_std = -0.693, logvar = log 1/4 = -1.386."""
    expected = np.full((2, 3), np.log(0.25), np.float32)
    np.testing.assert_array_equal(to_logvar(expected, "logvar"), expected)
    np.testing.assert_allclose(to_logvar(expected / 2, "log_std"), expected, rtol=1e-7)
    np.testing.assert_allclose(to_logvar(np.full((2, 3), 0.5, np.float32), "std"), expected)
    assert to_logvar(expected, "log_std").dtype == np.float32
    with pytest.raises(CheckpointError, match="6 values that are not positive in a batch of 2"):
        to_logvar(np.zeros((2, 3), np.float32), "std")
