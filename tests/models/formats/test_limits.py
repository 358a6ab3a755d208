"""Limits of memory: what a file declares, what a model allocates, what the system gives."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from vae_batch.models.formats import limits
from vae_batch.models.formats.format import Network
from vae_batch.plan.errors import CheckpointError

GIB = 2**30


@pytest.fixture(params=["keras", "tf_keras"])
def library(request: pytest.FixtureRequest) -> Any:
    reason = "tf_keras (the extra of tf.keras 2 files) is not installed"
    return pytest.importorskip(request.param, reason=reason)


linux = pytest.mark.skipif(
    limits._private_bytes() is None, reason="this system does not limit private memory"
)


def in_a_process_with_cap(body: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """Runs lines under a memory cap of 256 MiB, in a process that may die of it."""
    code = "\n".join(
        [
            "from vae_batch.models.formats.limits import memory_cap",
            "import numpy as np",
            before,
            "with memory_cap(256 << 20) as missing:",
            "    assert missing is None",
            *(f"    {line}" for line in body.splitlines()),
            "np.ones(1 << 30, np.uint8)  # the limit is lifted again",
            "print('alive')",
        ]
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)


@linux
def test_an_allocation_over_the_cap_raises() -> None:
    done = in_a_process_with_cap(
        "try:\n"
        "    np.ones(1 << 30, np.uint8)\n"
        "except MemoryError:\n"
        "    print('refused')\n"
        "np.ones(100 << 20, np.uint8)"
    )
    assert (done.returncode, done.stdout) == (0, "refused\nalive\n"), done.stderr[-500:]


@linux
@pytest.mark.long
@pytest.mark.slow  # TensorFlow tries again for ten seconds
def test_tensorflow_raises_too() -> None:
    done = in_a_process_with_cap(
        "try:\n"
        "    tf.zeros((25 << 30,))\n"
        "except Exception as error:\n"
        "    print('refused', ran_out_of_memory(error))\n",
        before="import tensorflow as tf; tf.constant(0)\n"
        "from vae_batch.models.formats.limits import ran_out_of_memory",
    )
    assert (done.returncode, done.stdout) == (0, "refused True\nalive\n"), done.stderr[-500:]


@linux
def test_a_limit_that_is_there_is_kept() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with limits.memory_cap(8 * GIB) as missing:
        assert missing is None
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        assert 8 * GIB < soft < 16 * GIB
        assert hard == before[1]
        with limits.memory_cap(32 * GIB):  # an inner one does not widen it
            assert resource.getrlimit(resource.RLIMIT_DATA)[0] == soft
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_a_platform_without_such_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_private_bytes", lambda: None)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with limits.memory_cap(1) as missing:
        assert missing == "this platform has no limit of a process's private memory"
        assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_weights_are_refused_before_they_are_allocated(library: Any) -> None:
    """100 x 10^10 float32 would be 3.6 TiB."""
    with (
        pytest.raises(
            CheckpointError, match=r"^d declares 3\.638 TiB of weights or more; mend it$"
        ),
        limits.weight_budget(GIB, "d", "; mend it"),
    ):
        library.Sequential([library.Input((100,)), library.layers.Dense(10**10)])


def test_the_budget_is_of_all_weights_together(library: Any) -> None:
    """256 x 4 and 4 x 4 float32: 4,160 bytes; tf_keras adds some counters."""
    layers = library.layers

    def build() -> None:
        library.Sequential([layers.Embedding(256, 4), layers.BatchNormalization()]).build((None, 9))

    with limits.weight_budget(4200, "d", ""):
        build()
    with pytest.raises(CheckpointError), limits.weight_budget(4159, "d", ""):
        build()


def test_an_error_of_its_own_passes_the_budget() -> None:
    with pytest.raises(KeyError), limits.weight_budget(GIB, "d", ""):
        raise KeyError("something else")


@pytest.mark.parametrize(
    ("held", "cap", "sentence"),
    [
        (1 << 20, 8 * GIB, "but the file holds 1 MiB: it is damaged or malicious; save the model"),
        (6 * GIB, 8 * GIB, "over memory_cap = 8 GiB; if the file is sound, raise --memory-cap"),
    ],
)
def test_a_budget_from_what_a_file_holds(held: int, cap: int, sentence: str) -> None:
    """Twice that and 64 MiB, or the cap where that is less; 37.25 GiB of weights are too much."""
    import keras

    with (
        pytest.raises(CheckpointError, match=rf"d declares 37\.25 GiB of weights.*{sentence}"),
        limits.weights_of_file(held, cap, "d"),
    ):
        keras.layers.Dense(10**9).build((None, 10))


def network(largest: tuple[int, str] | None) -> Network:
    return Network("d.keras", (), (), run=lambda: (), largest=largest)


def test_the_largest_tensor_of_a_batch() -> None:
    """32 rows of 256 MiB are 8 GiB exactly."""
    limits.require_small_activations(network((256 << 20, "up")), 8 * GIB)
    limits.require_small_activations(network(None), 1)
    sentence = r"d\.keras: layer 'up' makes 256 MiB of each sample, 8 GiB of a batch of 32, over"
    with pytest.raises(CheckpointError, match=sentence):
        limits.require_small_activations(network((256 << 20, "up")), 8 * GIB - 1)


def test_a_sound_configuration_passes(library: Any) -> None:
    image = library.Input((4,))
    shared = library.Sequential([library.Input((4,)), library.layers.Dense(4)])
    model = library.Model(image, shared(shared(image)))
    limits.check_keras_config(json.loads(model.to_json()), 0, GIB, "d.keras")


def test_calls_of_nested_models_multiply() -> None:
    """The middle model calls 3 layers of 2 calls each, and is called 1,000 times: 1,000 x 7."""
    call = [["input", 0, 0, {}]]
    inner = {"layers": [{"name": f"l{i}", "inbound_nodes": [call, call]} for i in range(3)]}
    middle = {"name": "m", "class_name": "Functional", "config": inner}
    config = {"config": {"layers": [middle | {"inbound_nodes": [call] * 700}]}}
    limits.check_keras_config(config, 0, GIB, "d.keras")  # 4,900
    config = {"config": {"layers": [middle | {"inbound_nodes": [call] * 1000}]}}
    with pytest.raises(CheckpointError, match=r"into 7e\+03 calls of layers.*at most 5,000"):
        limits.check_keras_config(config, 0, GIB, "d.keras")


def archive(path: Path, members: dict[str, bytes], packed: bool) -> Path:
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return path


def test_archives(tmp_path: Path) -> None:
    """Zeros pack a thousandfold; small or stored ones are no bomb."""
    for size, packed in ((32 << 20, True), (65 << 20, False)):
        limits.check_zip(archive(tmp_path / "a", {"w": bytes(size)}, packed), GIB, "a")
    with pytest.raises(CheckpointError, match=r"a is a zip bomb: w unpacks from .* to 65 MiB"):
        limits.check_zip(archive(tmp_path / "a", {"w": bytes(65 << 20)}, True), GIB, "a")
    many = archive(tmp_path / "a", {str(i): b"" for i in range(10_001)}, False)
    with pytest.raises(CheckpointError, match=r"a has 10,001 members"):
        limits.check_zip(many, GIB, "a")
    large = archive(tmp_path / "a", {"v": bytes(600), "w": bytes(600)}, False)
    with pytest.raises(CheckpointError, match=r"a unpacks to 1\.172 KiB, over memory_cap"):
        limits.check_zip(large, 1199, "a")


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (1023, "1,023 bytes"), (1024, "1 KiB"), (3 << 29, "1.5 GiB")],
)
def test_sizes_in_words(size: int, words: str) -> None:
    assert limits.in_words(size) == words


def test_the_cap_that_lets_so_much_in() -> None:
    """Twice the size, since libraries copy; none for what no host has."""
    assert limits.cap_for(9 * GIB) == {"memory_cap": 18.0}
    assert limits.cap_for(9 * GIB + 1) == {"memory_cap": 19.0}
    assert limits.cap_for(1000 * GIB) == {}
