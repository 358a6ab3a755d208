"""The evaluation spec: what is scored, against what, and how. Flags and TOML share its keys."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.fields import FieldInfo

Role = Literal["identity", "content", "runtime"]

ValueRange = Literal["0..1", "-1..1", "0..255"]
Likelihood = Literal["bernoulli", "gaussian"]


def _field(role: Role, default: Any, description: str, **bounds: Any) -> Any:  # noqa: ANN401
    """A spec field with its role.

    Roles: ``identity`` fields enter the fingerprint as they stand; ``content`` fields enter it
    through the hash of what they point at (a path may move, bytes may not); ``runtime`` fields
    say where and how to run and never move a number.
    """
    return Field(default, description=description, json_schema_extra={"role": role}, **bounds)


class EvaluationSpec(BaseModel):
    """Everything one run of the job needs; frozen, unknown keys are refused.

    Every field is a key of the TOML file and, with dashes, a flag of ``vae-batch score``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoints: tuple[str, ...] = _field(
        "content", ..., "Paths, folders, globs or URIs of VAE checkpoints.", min_length=1
    )
    reference: str = _field(
        "content",
        ...,
        "Real images: digits, mnist, fashion_mnist, cifar10, a folder, .npz, .npy or .parquet.",
    )
    reference_split: str = _field(
        "content", "test", "Split of a reference set that has splits: test, train or all."
    )
    reference_range: ValueRange | None = _field(
        "content", None, "Range of float reference images; inferred and checked when not given."
    )
    reference_samples: int | None = _field(
        "identity", None, "Use only the first N reference images (default: all).", ge=2
    )
    out: str = _field("runtime", "results/", "Output folder or URI.", min_length=1)
    extractors: tuple[str, ...] = _field(
        "content",
        ("inception-2015",),
        "inception-2015, inception-keras, inception-random, or the path of a Keras classifier.",
        min_length=1,
    )
    weights: tuple[str, ...] = _field(
        "content", (), "Files of extractor weights, told apart by their content."
    )
    allow_unverified_weights: bool = _field(
        "runtime",
        False,
        "Accept weight files whose hash is not a published one (the hash is in every row).",
    )
    classifier_range: ValueRange = _field(
        "content", "0..255", "Pixel range that a Keras classifier named as extractor takes."
    )
    samples: int = _field("identity", 10000, "Generated images a checkpoint.", ge=2)
    seed: int = _field("identity", 0, "Seed of latents and posterior noise.", ge=0, lt=2**63)
    likelihood: Likelihood | None = _field(
        "identity",
        None,
        "Likelihood of the decoder: inferred from a final sigmoid, else to be declared.",
    )
    sigma: float | None = _field(
        "identity",
        None,
        "Standard deviation of a gaussian likelihood, in units of the model's value range.",
        gt=0,
    )
    beta: float | None = _field(
        "identity",
        None,
        "Weight of the KL term in training; recorded, the ELBO has weight 1.",
        gt=0,
    )
    model_range: ValueRange = _field(
        "identity", "0..1", "Pixel range that the VAE was trained on and decodes to."
    )
    splits: int = _field("identity", 10, "Inception Score splits.", ge=1)
    shard_size: int = _field("identity", 512, "Samples a shard.", ge=1)
    batch_size: int | None = _field(
        "identity",
        None,
        "Images a batch, of one fixed shape; 32 on CPUs, on GPUs chosen by a short probe.",
        ge=1,
    )
    workers: int | None = _field(
        "runtime",
        None,
        "Extraction workers: 0 runs in this process without Ray; default one a GPU or node.",
        ge=0,
    )
    address: str | None = _field(
        "runtime", None, "Ray cluster to join (default: RAY_ADDRESS, else a local one)."
    )
    reference_cache: str | None = _field(
        "runtime", None, "Folder or URI of reference activations shared between output folders."
    )

    @property
    def settled_batch_size(self) -> int:
        """The batch size of a spec whose run has settled it.

        Raises:
          ValueError: It is still open.
        """
        if self.batch_size is None:
            raise ValueError("batch_size is still open; it is settled before shards are computed")
        return self.batch_size

    @field_validator("checkpoints", "extractors", "weights", mode="before")
    @classmethod
    def _single_value_is_a_list(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("extractors")
    @classmethod
    def _extractors_differ(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("the same extractor is named twice; name each once")
        return value

    @model_validator(mode="after")
    def _numbers_fit(self) -> EvaluationSpec:
        if self.samples < self.splits:
            raise ValueError(
                f"splits is {self.splits} but only {self.samples} samples are generated; "
                "use --samples of at least --splits, or fewer splits"
            )
        if self.likelihood == "gaussian" and self.sigma is None:
            raise ValueError(
                "a gaussian likelihood needs its standard deviation: squared error alone fixes "
                "none; add --sigma (for a decoder trained with plain MSE on 0..1 images "
                "sigma = 0.7071 makes the NLL the squared error plus a constant)"
            )
        if self.sigma is not None and self.likelihood != "gaussian":
            raise ValueError("sigma belongs to a gaussian likelihood; add --likelihood gaussian")
        return self


def role_of(name: str) -> Role:
    """Role of a spec field: identity, content or runtime."""
    extra = _info(name).json_schema_extra
    if not isinstance(extra, dict) or extra.get("role") not in ("identity", "content", "runtime"):
        raise KeyError(
            f"EvaluationSpec.{name} has no role; declare it with _field(role, ...) where role is "
            "'identity' if it moves a number, 'content' if it enters the fingerprint by the hash "
            "of what it names, or 'runtime' if it never moves a number"
        )
    return extra["role"]  # type: ignore[return-value]


def identity_of(spec: EvaluationSpec) -> dict[str, Any]:
    """The spec's identity fields by name, as plain values."""
    values = spec.model_dump(mode="json")
    return {name: values[name] for name in sorted(values) if role_of(name) == "identity"}


def _info(name: str) -> FieldInfo:
    return EvaluationSpec.model_fields[name]
