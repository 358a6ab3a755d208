"""Floor 2: Parquet columns, receipts, moments files and the score table on any filesystem."""

from vae_batch.storage.columns import (
    decode_arrays,
    decode_columns,
    encode_arrays,
    encode_columns,
)
from vae_batch.storage.comparison_file import (
    COMPARISON_COLUMNS,
    comparison_inputs,
    read_comparisons,
    write_comparisons,
)
from vae_batch.storage.moments_file import Reduction, decode_reduction, encode_reduction
from vae_batch.storage.receipts import (
    DIGESTS,
    INFLUENCES,
    REDUCTION,
    SHOWN,
    DamagedFileError,
    Receipt,
    file_path,
    forget,
    holds_arrays,
    pictures_name,
    read_receipt,
    read_verified,
    write_with_receipt,
)
from vae_batch.storage.score_table import (
    FLAGS_APART,
    ScoreWriter,
    read_score_rows,
    read_scores,
    upsert_scores,
)
from vae_batch.storage.store import Store
from vae_batch.storage.unit_progress import (
    GATHERED,
    UnitProgress,
    finished_shards,
    gather_receipts,
    is_activations,
    is_reduced,
    unit_progress,
    unit_progress_of,
)

__all__ = [
    "COMPARISON_COLUMNS",
    "DIGESTS",
    "FLAGS_APART",
    "GATHERED",
    "INFLUENCES",
    "REDUCTION",
    "SHOWN",
    "DamagedFileError",
    "Receipt",
    "Reduction",
    "ScoreWriter",
    "Store",
    "UnitProgress",
    "comparison_inputs",
    "decode_arrays",
    "decode_columns",
    "decode_reduction",
    "encode_arrays",
    "encode_columns",
    "encode_reduction",
    "file_path",
    "finished_shards",
    "forget",
    "gather_receipts",
    "holds_arrays",
    "is_activations",
    "is_reduced",
    "pictures_name",
    "read_comparisons",
    "read_receipt",
    "read_score_rows",
    "read_scores",
    "read_verified",
    "unit_progress",
    "unit_progress_of",
    "upsert_scores",
    "write_comparisons",
    "write_with_receipt",
]
