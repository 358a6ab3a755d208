"""Size and value range of a model's images, from both of its halves."""

from __future__ import annotations

from vae_batch.models.autoencoder.decoder_output import DecoderOutput
from vae_batch.models.autoencoder.halves import ImageInput
from vae_batch.models.autoencoder.images import ImageFit
from vae_batch.models.autoencoder.reading_context import Findings, Terms
from vae_batch.models.autoencoder.value_range import read_value_range
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import ValueRange

_DONE = {"pad": "padded with black", "resize": "resized with antialiased bilinear"}


def read_size_and_range(
    source: ImageInput | None,
    hint: str | None,
    output: DecoderOutput | None,
    terms: Terms,
    findings: Findings,
) -> ImageFit:
    """What lies between the reference's images and the model's.

    Args:
      source: Where images go in; None for a decoder alone.
      hint: Range that the encoder's first layer rescales from, or None.
      output: Where images come out; None for an encoder alone.
      terms: Of the reading.
      findings: Get decisions and warnings.

    Raises:
      CheckpointError: The halves disagree on the size, or a declared range cannot be.
    """
    ends = {"images in": source, "images out": output}
    known = {subject: end.layout for subject, end in ends.items() if end is not None}
    shapes = [layout.image_shape for layout in known.values()]
    if len(set(shapes)) > 1:
        raise CheckpointError(
            f"the encoder takes images {shapes[0]}, but the decoder gives images {shapes[1]}; they "
            "are not halves of one VAE"
        )
    for subject, layout in known.items():
        findings.decide(subject, f"{layout.order} {layout.shape}", "told by shapes")
    how = terms.reading.input_fit if shapes[0] != terms.image_shape else None
    if how is not None:
        verdict = f"{terms.image_shape} to {shapes[0]}, {_DONE[how]}"
        findings.decide("input fit", verdict, "declared by --input-fit")
    value_range, decision = read_value_range(
        terms.reading.model_range,
        output.likelihood if output else None,
        output.activation if output else None,
        hint,
    )
    findings.decisions.append(decision)
    _note_own_range(source.value_range if source else None, value_range, findings)
    if output is None and terms.reading.model_range is None and hint is None:
        findings.warnings.append(
            f"the range {value_range} of the encoder's images is the default, and without a "
            "decoder nothing checks it; declare --model-range"
        )
    return ImageFit(terms.image_shape, shapes[0], how, value_range)


def _note_own_range(own: ValueRange | None, value_range: ValueRange, findings: Findings) -> None:
    if own is not None and own != value_range:
        how = "its first layer tells; images are converted for it"
        findings.decide("encoder's own range", own, how)
