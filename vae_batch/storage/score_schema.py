"""The columns of the score table, in order, and their version."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from vae_batch.metrics.catalogue import METRICS

#: Version of the columns. Version 0.1 of the package wrote none, and no codes or kinds.
SCHEMA_VERSION = 2

#: Between the sentences of the column ``warnings``.
FLAGS_APART = " | "

#: In the metadata of the Parquet file.
VERSION_KEY = b"vae_batch.score_schema"

_TEXT, _COUNT, _NUMBER = pa.string(), pa.int64(), pa.float64()


def _metric_columns() -> Iterator[tuple[str, pa.DataType]]:
    """The columns of each metric: numbers, and sentences on them."""
    for column, metric in METRICS.items():
        numbers = (column, f"{column}_se")
        yield from ((name, _NUMBER if name in numbers else _TEXT) for name in metric.columns)


#: Columns in order. Units and meanings of the metrics are in ``vae_batch.metrics.METRICS``.
SCHEMA = pa.schema(
    [
        ("checkpoint", _TEXT),
        ("step", _COUNT),
        ("status", _TEXT),
        ("reason", _TEXT),
        ("warnings", _TEXT),
        ("extractor", _TEXT),
        ("weights_sha256", _TEXT),
        ("protocol", _TEXT),
        ("tool", _TEXT),
        ("feature_dim", _COUNT),
        ("n_generated", _COUNT),
        ("generated_subset", _TEXT),
        ("n_reference", _COUNT),
        ("left_race_at", _COUNT),
        ("reference", _TEXT),
        ("reference_split", _TEXT),
        ("reference_sha256", _TEXT),
        ("reference_is", _TEXT),
        ("reference_kind", _TEXT),
        ("reference_protocol", _TEXT),
        ("reference_fit", _TEXT),
        ("checkpoint_sha256", _TEXT),
        ("seed", _COUNT),
        ("model_format", _TEXT),
        ("model_range", _TEXT),
        ("input_fit", _TEXT),
        ("condition", _TEXT),
        ("second_head", _TEXT),
        ("likelihood", _TEXT),
        ("sigma", _NUMBER),
        ("sigma_source", _TEXT),
        ("bin_width", _NUMBER),
        ("beta", _NUMBER),
        ("reference_subset", _TEXT),
        ("latent", _TEXT),
        ("iwae_draws", _COUNT),
        ("iwae_images", _TEXT),
        *_metric_columns(),
        ("device", _TEXT),
        ("fingerprint", _TEXT),
        ("scored_at", _TEXT),
        ("version", _TEXT),
        ("scoring_version", _COUNT),
        # What programs read in place of the sentences: JSON of metric to code, and of warnings.
        ("reason_code", _TEXT),
        ("reason_codes", _TEXT),
        ("warnings_json", _TEXT),
        ("traceback", _TEXT),
    ],
    metadata={VERSION_KEY: str(SCHEMA_VERSION)},
)
