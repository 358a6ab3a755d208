"""Generated images as files: those that a run scores, for other tools to read."""

from __future__ import annotations

import os
import secrets
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from vae_batch.models.autoencoder.vae import Autoencoder
from vae_batch.plan import CheckpointError, EvaluationSpec, InputError, Shard, sample_ranges
from vae_batch.plan.location import is_uri
from vae_batch.plan.quantities import plural
from vae_batch.run.planning.batch_size import CPU_BATCH_SIZE
from vae_batch.run.planning.checkpoint_job import CheckpointJob
from vae_batch.run.planning.run_plan import find_jobs
from vae_batch.run.reference.facts import ReferenceFacts
from vae_batch.run.reference.images import describe_references, open_probe, require_references
from vae_batch.run.stages.inputs import (
    PROBE_IMAGES,
    Pixels,
    can_generate,
    generated_inputs,
    generated_pictures,
    load_probed,
)

_MOST_LISTED = 10
_DIGITS = 6


def write_sampled_images(spec: EvaluationSpec, target: str, tell: Callable[[str], None]) -> str:
    """Write the images that a run of the same spec generates from its one checkpoint.

    Latents, batches and rounding are the run's, so the pixels are equal on the same kind of
    device. One shard of images is in memory at a time.

    Args:
        spec: Of the run; a batch size that is open is that of CPUs.
        target: A folder, for PNG files ``000000.png`` and so on, grey or RGB; or a file that ends
            in ``.npz``, for ``arr_0``, (n, H, W, C) uint8.
        tell: Takes notes on the reference images.

    Returns:
        A sentence about what was written.

    Raises:
        InputError: The target exists, or the spec does not name one checkpoint that can generate.
    """
    path = _free(target)
    size = spec.batch_size or CPU_BATCH_SIZE
    spec = spec.model_copy(update={"training": None, "batch_size": size})
    require_references(spec)
    job = _only_job(spec)
    facts, _ = describe_references(spec)
    for note in facts.notes:
        tell(note)
    label = job.checkpoint.label
    try:
        vae = _loaded(spec, facts, job)
        batches = _images(spec, facts, vae)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npz":
            _write_npz(path, (spec.samples, *vae.fit.reference_shape), batches)
        else:
            _write_pngs(path, spec.samples, batches)
    except CheckpointError as error:
        raise InputError(f"{label}: {error}") from error
    return (
        f"{plural(spec.samples, 'image')} of {label} written to {target} "
        f"(seed {spec.seed}, batch size {size})"
    )


def _free(target: str) -> Path:
    """The path to write to, where nothing is yet."""
    if is_uri(target):
        raise InputError(f"--out {target}: expected a local folder or .npz file, found a URI")
    path = Path(target).expanduser()
    is_empty = path.is_dir() and path.suffix != ".npz" and not any(path.iterdir())
    if os.path.lexists(path) and not is_empty:
        found = "a folder that is not empty" if path.is_dir() else "a file"
        raise InputError(
            f"--out {target} is {found}, and nothing is overwritten; remove it or name another"
        )
    return path


def _only_job(spec: EvaluationSpec) -> CheckpointJob:
    jobs = find_jobs(spec)
    if len(jobs) > 1:
        labels = [job.checkpoint.label for job in jobs[:_MOST_LISTED]]
        more = ", ..." if len(jobs) > _MOST_LISTED else ""
        raise InputError(
            f"expected one checkpoint, found {len(jobs)}: {', '.join(labels)}{more}; name one"
        )
    return jobs[0]


def _loaded(spec: EvaluationSpec, facts: ReferenceFacts, job: CheckpointJob) -> Autoencoder:
    if job.checkpoint.samples is not None:
        raise CheckpointError("it is a set of images already, which nothing generates")
    pixels, labels = None, None
    if facts.kind == "images":
        probe = open_probe(spec)
        pixels = probe.pixels[:PROBE_IMAGES]
        labels = None if probe.labels is None else probe.labels[:PROBE_IMAGES]
    vae = load_probed(spec, facts, job, pixels, labels)
    if not can_generate(vae):
        missing = vae.description.missing
        why = "; ".join(missing[part] for part in ("decoder", "prior") if part in missing)
        raise CheckpointError(f"it cannot generate images: {why}")
    return vae


def _images(spec: EvaluationSpec, facts: ReferenceFacts, vae: Autoencoder) -> Iterator[Pixels]:
    """Images in order, one shard of the run after another."""
    for start, stop in sample_ranges(spec.samples, spec.shard_size):
        inputs = generated_inputs(spec, facts, vae, Shard("sample", start, stop))
        yield generated_pictures(spec, vae, inputs)


def _write_npz(path: Path, shape: tuple[int, ...], batches: Iterable[Pixels]) -> None:
    """Write ``arr_0`` as ``numpy.savez`` does, without holding all of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    try:
        with (
            zipfile.ZipFile(temporary, "w") as archive,
            archive.open("arr_0.npy", "w", force_zip64=True) as file,
        ):
            np.lib.format.write_array_header_1_0(file, header)
            for pixels in batches:
                file.write(pixels.tobytes())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_pngs(folder: Path, count: int, batches: Iterable[Pixels]) -> None:
    """One PNG per image; if it is interrupted, none is left."""
    digits = max(_DIGITS, len(str(count - 1)))
    written: list[Path] = []
    folder.mkdir(exist_ok=True)
    try:
        for pixels in batches:
            for image in pixels:
                written.append(folder / f"{len(written):0{digits}d}.png")
                Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(written[-1])
    except BaseException:
        for file in written:
            file.unlink(missing_ok=True)
        raise
