"""A weight that diverged is named, in every precision."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from vae_batch.models.autoencoder.network_runs import require_finite_weights
from vae_batch.models.formats.format import Network
from vae_batch.plan import CheckpointError


def made(values: Any) -> Network:
    return Network("d.keras", (), (), run=lambda: (), weights=lambda: iter([("b", values)]))


def test_finite_weights_of_any_kind() -> None:
    require_finite_weights(made(np.array([1, 2])), "decoder")
    for dtype in (np.float16, np.float32, np.float64, ml_dtypes.bfloat16):
        require_finite_weights(made(np.array([1.0, 2.0], dtype)), "decoder")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_diverged(dtype: Any, bad: float) -> None:
    with pytest.raises(CheckpointError, match=r"the decoder's weight b holds NaN or infinity"):
        require_finite_weights(made(np.array([1.0, bad], dtype)), "decoder")
