from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest

from vae_batch.plan import EvaluationSpec, InputError, identity_of, make_spec, read_toml, role_of
from vae_batch.plan.fingerprint import differing_keys, fingerprint

REQUIRED = {"checkpoints": ["a.keras"], "reference": "digits"}

#: Every field by its role. A new field must be added here by someone who has thought about it.
ROLES = {
    "identity": {
        "reference_samples", "reference_subset", "reference_is", "samples", "seed", "splits",
        "shard_size", "batch_size", "iwae_draws", "iwae_images",
    },
    "content": {
        "checkpoints", "encoder", "decoder", "per_checkpoint", "reference", "reference_split",
        "reference_range", "reference_protocol", "reference_fit", "reference_filter",
        "reference_size", "reference_colours", "training", "training_samples", "extractors",
        "protocols", "weights", "classifier_range", "embedding", "class_output",
    },
    "reading": {
        "likelihood", "sigma", "beta", "model_range", "second_head", "prior", "labels", "input_fit",
        "latent_scale", "latent_shift", "builder", "custom_objects", "encode_signature",
        "decode_signature",
    },
    "runtime": {
        "out", "workers", "address", "reference_cache", "allow_unverified_weights", "trust",
        "memory_cap", "metrics", "select", "confirm", "race", "keep_activations", "wait",
        "shard_timeout", "stable_for", "tolerance",
    },
}  # fmt: skip

INF = float("inf")


def test_every_field_is_classified() -> None:
    for name in EvaluationSpec.model_fields:
        listed = [role for role, names in ROLES.items() if name in names]
        assert listed == [role_of(name)], (
            f"EvaluationSpec.{name}: decide its role. 'identity' if changing it changes any stored "
            "number (it then enters the fingerprint, and old output folders are refused); "
            "'content' if it names something that enters the fingerprint by the hash of its bytes; "
            "'reading' if it says how a checkpoint's files are to be understood; "
            "'runtime' if it can never move a number. Declare the role in spec.py and list the "
            "field under the same role in ROLES of this test."
        )


def test_identity_ignores_runtime_and_paths() -> None:
    here = make_spec(REQUIRED)
    moved = make_spec({**REQUIRED, "out": "elsewhere", "workers": 3, "checkpoints": ["b.keras"]})
    assert identity_of(here) == identity_of(moved)
    assert identity_of(here) != identity_of(make_spec({**REQUIRED, "seed": 1}))


def test_fingerprint_is_frozen() -> None:
    """A golden: if it moves, stored results of every user are redone; raise SCORING_VERSION."""
    text = b'{"a":1,"b":["x",null],"scoring_version":3}'
    assert fingerprint(a=1, b=["x", None]) == hashlib.sha256(text).hexdigest()[:32]
    assert fingerprint(b=["x", None], a=1) == fingerprint(a=1, b=["x", None])
    assert fingerprint(a=1.0) != fingerprint(a=1)


def test_differing_keys_name_both_values() -> None:
    assert differing_keys({"seed": 0, "n": 5}, {"seed": 1, "n": 5}) == [
        "seed: found 0, this run has 1"
    ]


def test_spec_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        make_spec(REQUIRED).seed = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sample": 5}, ["unknown key 'sample'", "did you mean 'samples'"]),
        ({"zzz": 5}, ["unknown key 'zzz'", "known keys", "batch_size"]),
        ({"samples": 1}, ["samples = 1", "expected at least 2"]),
        ({"samples": "many"}, ["samples = 'many'", "expected a whole number"]),
        ({"samples": 5, "splits": 10}, ["splits is 10", "only 5 samples", "fewer splits"]),
        ({"likelihood": "gaussian"}, ["needs its scale", "--sigma"]),
        ({"sigma": 0.1}, ["--likelihood gaussian"]),
        ({"likelihood": "poisson"}, ["likelihood = 'poisson'", "'bernoulli'"]),
        ({"extractors": ["a", "a"]}, ["named twice"]),
        ({"likelihood": "gausian"}, ["'gausian'", "did you mean 'gaussian'?"]),
        ({"metrics": ["fdi"]}, ["metrics = ['fdi']", "named fdi", "did you mean 'fid'?"]),
        ({"checkpoints": 3}, ["checkpoints = 3", "expected a name or a list of names"]),
        ({"checkpoints": ["a", 3]}, ["checkpoints = ['a', 3]", "a list of names"]),
        ({"likelihood": "gaussian", "sigma": "best"}, ["sigma = 'best'", "a number or one of"]),
        ({"sigma": -1, "likelihood": "gaussian"}, ["sigma = -1", "expected more than 0"]),
        ({"trust": "perhaps"}, ["trust = 'perhaps'", "expected true or false"]),
        ({"race": {"metric": "kid", "alpha": 7}}, ["race", "alpha"]),
        ({"tolerance": {"fid": "low"}}, ["tolerance.fid = 'low'"]),
        ({"builder": "no function"}, ["builder = 'no function'", "package.module:function"]),
        ({"checkpoints": []}, ["checkpoints"]),
        ({"sigma": INF, "likelihood": "gaussian"}, ["sigma = inf: expected a finite number"]),
        (
            {"per_checkpoint": {"*": {"sigma": INF}}},
            ["per_checkpoint '*': sigma: expected a finite number"],
        ),
        ({"memory_cap": INF}, ["memory_cap = inf: expected a finite number"]),
        ({"memory_cap": float("nan")}, ["memory_cap = nan: expected a finite number"]),
        ({"memory_cap": 1e300}, ["memory_cap = 1e+300: expected at most 1,048,576"]),
        ({"wait": INF}, ["wait = inf: expected a finite number"]),
        ({"race": {"metric": "kid", "growth": INF}}, ["race.growth = inf", "finite"]),
        ({"tolerance": {"fid": float("nan")}}, ["tolerance.fid = nan: expected a finite number"]),
        ({"tolerance": {"fdi": 1.0}}, ["tolerance", "fdi is no metric; expected one of"]),
        ({"samples": 2**63 - 1}, ["samples = 9223372036854775807", "at most 1,000,000,000"]),
        ({"samples": 10**400}, ["samples = 1000", "at most 1,000,000,000"]),
        ({"samples": 10**9, "shard_size": 1}, ["1,000,000,000 shards", "--shard-size 10000 or"]),
        ({"batch_size": 2**62}, ["batch_size", "at most 1,000,000"]),
        ({"workers": 2**62}, ["workers", "at most 100,000"]),
        ({"checkpoints": ["a\0b"]}, ["checkpoints = ['a\\x00b']", "without null characters"]),
    ],
)
def test_bad_values_are_named(settings: dict[str, object], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        make_spec({**REQUIRED, **settings}, source="spec.toml")
    for word in ["spec.toml", *words]:
        assert word in str(caught.value)
    assert "Input should" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words", "remedy"),
    [
        ({"likelihood": "gaussian"}, "add --sigma", {"sigma": 0.5}),
        ({"likelihood": "gaussian"}, "--sigma optimal", {"sigma": "optimal"}),
        ({"likelihood": "gaussian"}, "--sigma learned", {"sigma": "learned"}),
        ({"sigma": 0.5}, "add --likelihood gaussian", {"likelihood": "gaussian"}),
        (
            {"likelihood": "discretized_logistic", "sigma": "optimal"},
            "is known for a gaussian likelihood only; give a number",
            {"sigma": 0.1},
        ),
        (
            {"likelihood": "discretized_logistic", "sigma": "optimal"},
            "or --likelihood gaussian",
            {"likelihood": "gaussian"},
        ),
        (
            {"race": "kid", "metrics": "losses"},
            "add kid to --metrics",
            {"metrics": "losses,kid"},
        ),
        (
            {"race": "kid", "select": "elbo"},
            "select by the race's metric",
            {"select": "kid"},
        ),
        ({"race": "kid", "select": "elbo"}, "or without a race", {"race": None}),
        (
            {"race": "kid", "keep_activations": "none"},
            "keep all, and use `vae-batch prune`",
            {"keep_activations": "all"},
        ),
        (
            {"race": {"metric": "kid", "first": 100, "max": 50}},
            "max is 50, below first, 100",
            {"race": {"metric": "kid", "first": 50, "max": 100}},
        ),
        ({"samples": 5}, "use --samples of at least --splits", {"samples": 10}),
        ({"samples": 5}, "or fewer splits", {"splits": 5}),
        ({"samples": 10**9, "shard_size": 1}, "use --shard-size 10000", {"shard_size": 10000}),
        ({"extractors": ["a", "a"]}, "name each once", {"extractors": ["a"]}),
        (
            {"tolerance": {"fid": 1.0, "fid_corrected": 1.0}},
            "are one metric; name it once",
            {"tolerance": {"fid": 1.0}},
        ),
        (
            {"checkpoints": []},
            "--encoder 'runs/*/enc-{step}.keras' --decoder 'runs/*/dec-{step}.keras'",
            {"encoder": "runs/*/enc-{step}.keras", "decoder": "runs/*/dec-{step}.keras"},
        ),
        ({"reference": "s3:/set.npz"}, "write s3://", {"reference": "s3://set.npz"}),
        ({"reference": "s3:/set.npz"}, r"or ./s3... for", {"reference": "./s3/set.npz"}),
    ],
)
def test_what_a_refusal_tells_to_do_is_accepted(
    settings: dict[str, Any], words: str, remedy: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        make_spec({**REQUIRED, **settings})
    make_spec({**REQUIRED, **settings, **remedy})


def test_on_the_command_line_flags_are_named() -> None:
    with pytest.raises(
        InputError, match=r"^the command line: --batch-size = 'x': expected a whole"
    ):
        make_spec({**REQUIRED, "batch_size": "x"})


def test_missing_key_says_what_it_is() -> None:
    with pytest.raises(InputError, match=r"reference is required \(Real images"):
        make_spec({"checkpoints": ["a"]})


def test_toml(tmp_path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text('checkpoints = "runs/*"\nreference = "mnist"\nsamples = 50\nsplits = 5\n')
    spec = make_spec(read_toml(str(path)))
    assert (spec.checkpoints, spec.reference, spec.samples) == (("runs/*",), "mnist", 50)
    path.write_text("samples = = 3")
    with pytest.raises(InputError, match="not valid TOML"):
        read_toml(str(path))
    with pytest.raises(InputError, match="does not exist"):
        read_toml(str(tmp_path / "none.toml"))


def test_splits_are_checked_only_where_they_are_used() -> None:
    given = {"checkpoints": ["a.keras"], "reference": "digits", "samples": 5, "splits": 10}
    assert make_spec(given | {"metrics": "kid"}).splits == 10
    with pytest.raises(InputError, match="splits is 10"):
        make_spec(given | {"metrics": "inception_score"})
