"""Floor 2: Parquet columns, receipts, moments files and the score table on any filesystem."""

from vae_batch.storage.columns import (
    decode_arrays,
    decode_columns,
    encode_arrays,
    encode_columns,
)
from vae_batch.storage.comparison_file import (
    COMPARISON_COLUMNS,
    read_comparisons,
    write_comparisons,
)
from vae_batch.storage.moments_file import Reduction, decode_reduction, encode_reduction
from vae_batch.storage.receipts import (
    INFLUENCES,
    REDUCTION,
    DamagedFileError,
    Receipt,
    file_path,
    finished_shards,
    forget,
    holds_arrays,
    is_reduced,
    read_receipt,
    read_verified,
    write_with_receipt,
)
from vae_batch.storage.score_table import FLAGS_APART, read_score_rows, read_scores, upsert_scores
from vae_batch.storage.store import Store

__all__ = [
    "COMPARISON_COLUMNS",
    "FLAGS_APART",
    "INFLUENCES",
    "REDUCTION",
    "DamagedFileError",
    "Receipt",
    "Reduction",
    "Store",
    "decode_arrays",
    "decode_columns",
    "decode_reduction",
    "encode_arrays",
    "encode_columns",
    "encode_reduction",
    "file_path",
    "finished_shards",
    "forget",
    "holds_arrays",
    "is_reduced",
    "read_comparisons",
    "read_receipt",
    "read_score_rows",
    "read_scores",
    "read_verified",
    "upsert_scores",
    "write_comparisons",
    "write_with_receipt",
]
