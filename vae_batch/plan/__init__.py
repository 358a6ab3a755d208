"""Floor 0: the spec, its fingerprint and shards; no arrays, no files, no cluster."""

from vae_batch.plan.errors import CheckpointError, ClusterLostError, InputError
from vae_batch.plan.fingerprint import SCORING_VERSION, fingerprint
from vae_batch.plan.loading import make_spec, read_toml
from vae_batch.plan.reading import Reading
from vae_batch.plan.shards import Shard, Unit, sample_ranges
from vae_batch.plan.spec import EvaluationSpec, identity_of, role_of

__all__ = [
    "SCORING_VERSION",
    "CheckpointError",
    "ClusterLostError",
    "EvaluationSpec",
    "InputError",
    "Reading",
    "Shard",
    "Unit",
    "fingerprint",
    "identity_of",
    "make_spec",
    "read_toml",
    "role_of",
    "sample_ranges",
]
