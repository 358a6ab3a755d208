"""How a checkpoint is read: what its files do not tell, declared for all or for some of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Role = Literal["identity", "content", "reading", "runtime"]

ValueRange = Literal["0..1", "-1..1", "0..255"]
Colours = Literal["grey", "rgb"]
ClassOutput = Literal["none", "softmax", "logits", "sigmoid"]
Likelihood = Literal["bernoulli", "continuous_bernoulli", "gaussian", "discretized_logistic"]
SecondHead = Literal["logvar", "log_std", "std"]
InputFit = Literal["pad", "resize"]
ReferenceFit = Literal["center-crop", "resize"]
ReferenceFilter = Literal["lanczos", "bicubic", "bilinear", "box"]
Labels = Literal["one-hot", "integer", "concatenated"]


def spec_field(role: Role, default: Any, description: str, **bounds: Any) -> Any:  # noqa: ANN401
    """A spec field with its role.

    Roles: ``identity`` fields enter the fingerprint as they stand; ``content`` fields enter it
    through the hash of what they point at (a path may move, bytes may not); ``reading`` fields
    enter the fingerprint of the checkpoints that they are declared for, so that a declaration
    added after a failure redoes that checkpoint alone; ``runtime`` fields say where and how to
    run and never move a number.
    """
    return Field(default, description=description, json_schema_extra={"role": role}, **bounds)


class Reading(BaseModel):
    """What is declared of a checkpoint; what is not declared is inferred, probed or asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    likelihood: Likelihood | None = spec_field(
        "reading",
        None,
        "Likelihood of the decoder: inferred from a final sigmoid, else to be declared.",
    )
    sigma: Annotated[float, Field(gt=0)] | Literal["optimal", "learned"] | None = spec_field(
        "reading",
        None,
        "Standard deviation of a gaussian likelihood (or scale of a discretised logistic) in units "
        "of the model's value range; 'optimal' is each checkpoint's own best gaussian, 'learned' a "
        "second output of the decoder.",
    )
    beta: float | None = spec_field(
        "reading",
        None,
        "Weight of the KL term in training; recorded, the ELBO has weight 1.",
        gt=0,
    )
    model_range: ValueRange | None = spec_field(
        "reading",
        None,
        "Pixel range that the VAE was trained on and decodes to: inferred from a final sigmoid "
        "or tanh or a first Rescaling layer, else 0..1, and checked.",
    )
    second_head: SecondHead | None = spec_field(
        "reading",
        None,
        "What the encoder's second head is; inferred from names and draws when not given.",
    )
    prior: Literal["normal"] | None = spec_field(
        "reading",
        None,
        "Declare 'normal' to sample a plain autoencoder's code from N(0, I).",
    )
    labels: Labels | None = spec_field(
        "reading",
        None,
        "How a conditional VAE takes labels; inferred from its inputs' shapes when not given.",
    )
    input_fit: InputFit | None = spec_field(
        "reading",
        None,
        "How reference images become the size the VAE takes: pad (black border) or resize.",
    )
    latent_scale: float | None = spec_field(
        "reading",
        None,
        "Factor of a latent diffusion model's VAE (scaling_factor): its latents, less "
        "latent_shift, are multiplied by it, and the prior is N(0, I) of the result.",
        gt=0,
    )
    latent_shift: float | None = spec_field(
        "reading", None, "What is subtracted from such latents before (shift_factor); default 0."
    )
    builder: str | None = spec_field(
        "reading",
        None,
        "package.module:function that builds the VAE, or (encoder, decoder), of a weights file.",
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
    )
    custom_objects: tuple[str, ...] = spec_field(
        "reading", (), "Modules (package.module) that define the checkpoint's own classes."
    )
    encode_signature: str | None = spec_field(
        "reading", None, "Endpoint of a SavedModel that encodes (default: encode)."
    )
    decode_signature: str | None = spec_field(
        "reading", None, "Endpoint of a SavedModel that decodes (default: decode)."
    )

    @field_validator("custom_objects", mode="before")
    @classmethod
    def _one_module_is_a_list(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _sigma_belongs_to_gaussian(self) -> Reading:
        if self.likelihood in ("gaussian", "discretized_logistic") and self.sigma is None:
            raise ValueError(
                f"a {self.likelihood} likelihood needs its scale: squared error alone fixes none; "
                "add --sigma (for a decoder trained with plain MSE on 0..1 images sigma = 0.7071 "
                "makes the NLL the squared error plus a constant; for a gaussian --sigma optimal "
                "takes each checkpoint's own best; --sigma learned a second decoder output)"
            )
        if self.sigma is not None and self.likelihood not in ("gaussian", "discretized_logistic"):
            raise ValueError("sigma belongs to a gaussian likelihood; add --likelihood gaussian")
        if self.sigma == "optimal" and self.likelihood != "gaussian":
            raise ValueError(
                "sigma = 'optimal' is known for a gaussian likelihood only; give a number, or "
                "--likelihood gaussian"
            )
        return self

    @property
    def declared(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as plain values; what a fingerprint sees."""
        return self.model_dump(mode="json", exclude_defaults=True)
