"""Means and covariances of a run's features, as pytorch-fid, TTUR and clean-fid read them."""

from __future__ import annotations

import numpy as np

from vae_batch.metrics.samples.moments import Moments
from vae_batch.plan import InputError
from vae_batch.report.finished_run import FinishedRun
from vae_batch.report.labels import slugs
from vae_batch.run.output.run_record import ScoredRow, open_record, scored_rows
from vae_batch.storage import DamagedFileError, Store, encode_arrays
from vae_batch.storage.score_rows import Conditions

_REFERENCE = "\0reference"  # no checkpoint's label


def write_statistics(run: FinishedRun, folder: str) -> int:
    """Write the stored moments of every scored checkpoint and of the reference, by extractor.

    The files are ``<checkpoint>-<extractor>.npz`` and ``reference-<extractor>.npz``. They hold
    ``mu`` (d,) and ``sigma`` (d, d; ddof 1), float64, the number of images ``n``, and the
    extractor's ``protocol`` and ``weights_sha256``. Checkpoints that cannot generate have none.

    Args:
        run: Of stored moments.
        folder: Folder or URI; files of the same names are replaced.

    Returns:
        Number of files.

    Raises:
        InputError: The run has no features, or stored moments are missing or damaged.
    """
    location = run.store.root
    rows = [r for r in scored_rows(location, open_record(location)) if "generated" in r.parts.units]
    if not rows:
        raise InputError(
            f"{run.store.shown} holds no features of generated images; score with a metric that "
            "reads them, such as --metrics fid"
        )
    checkpoints = slugs([*(row.row.checkpoint for row in rows), _REFERENCE])
    extractors = slugs(row.row.conditions.extractor for row in rows)
    target, written = Store.open(folder), set[str]()
    for row in rows:
        conditions = row.row.conditions
        for label, kind in ((row.row.checkpoint, "generated"), (_REFERENCE, "reference")):
            name = f"{checkpoints[label]}-{extractors[conditions.extractor]}.npz"
            moments = None if name in written else _moments(row, kind)
            if moments is not None:
                target.write(name, _encoded(moments, conditions))
                written.add(name)
    return len(written)


def _moments(row: ScoredRow, kind: str) -> Moments | None:
    try:
        return row.parts.reduction(kind).moments
    except DamagedFileError as damage:
        raise InputError(
            f"{row.row.checkpoint}: {damage}; run the same `vae-batch score` again, which computes "
            "that part again"
        ) from None


def _encoded(moments: Moments, conditions: Conditions) -> bytes:
    return encode_arrays(
        {
            "mu": moments.mean,
            "sigma": moments.covariance,
            "n": np.array(moments.count),
            "protocol": np.array(conditions.protocol),
            "weights_sha256": np.array(conditions.weights_sha256),
        }
    )
