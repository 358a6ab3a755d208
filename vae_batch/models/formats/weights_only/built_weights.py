"""Weight files without an architecture, loaded into the model that the user's function builds."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from vae_batch.models.formats.format import LoadOptions, Networks
from vae_batch.models.formats.keras.graph import Layer, library_of
from vae_batch.models.formats.keras.hdf5_file import is_hdf5, logical_bytes, open_hdf5
from vae_batch.models.formats.keras.network import half_of, networks_of
from vae_batch.models.formats.limits import cap_for, in_words, over_cap
from vae_batch.models.formats.user_modules import (
    is_given,
    user_function,
    working_directory_on_path,
)
from vae_batch.models.formats.weights_only import weight_files
from vae_batch.models.inputs.file_kind import kind_of
from vae_batch.plan.errors import CheckpointError

_HALVES = ("encoder", "decoder")


def holds_built_weights(path: str, head: bytes) -> bool:
    """Whether a file is Keras' own: a whole model, or weights, for what a builder builds."""
    return bool(head) and kind_of(path, head) in ("keras", "hdf5")


class BuiltWeights:
    """HDF5 weights of Keras 3, tf.keras or the older Keras; implements ``CheckpointFormat``."""

    name = "weights+builder"
    suffixes: tuple[str, ...] = (".weights.h5", ".h5", ".hdf5")

    def recognises(self, path: str, head: bytes) -> bool:
        """See the protocol."""
        if not is_hdf5(path, head):
            return False
        try:
            with open_hdf5(path) as file:
                return "model_config" not in file.attrs and weight_files.holds_weights(file)
        except CheckpointError:  # damaged, or borrowing from other files
            return False

    def load(self, files: Mapping[str, str], options: LoadOptions) -> Networks:
        """See the protocol."""
        with contextlib.ExitStack() as stack:
            weights = {
                role: stack.enter_context(weight_files.weights_of_model(path, options.memory_cap))
                for role, path in files.items()
            }
            try:
                for path in weights.values():
                    _require_builder(path, options)
                built = _built(str(options.reading.builder))
                for role, path in weights.items():
                    if role == "model":
                        built.assign(path)
                    else:
                        weight_files.assign(path, built.half(role), built.reference)
            except CheckpointError as error:
                message = str(error)
                for role, path in weights.items():
                    message = message.replace(path, files[role])
                raise CheckpointError(message, error.declare) from error
        return built.networks(files)


@dataclass(frozen=True)
class _Built:
    """What a builder returned: one model, or its halves by name."""

    reference: str
    model: Layer | None
    halves: Mapping[str, Layer]

    def assign(self, path: str) -> None:
        """Load one file's weights into the whole model, or into the halves if that fails."""
        if self.model is None:
            weight_files.assign(path, self.halves, self.reference)
            return
        try:
            weight_files.assign(path, self.model, self.reference)
        except CheckpointError as unfit:
            if len(self.halves) < len(_HALVES):
                raise
            try:
                weight_files.assign(path, self.halves, self.reference)
            except CheckpointError:
                raise unfit from unfit.__cause__

    def half(self, role: str) -> Layer:
        if role in self.halves:
            return self.halves[role]
        raise CheckpointError(
            f"the model that builder {self.reference!r} returns has no layer or attribute named "
            f"{role!r}; return the tuple (encoder, decoder)"
        )

    def networks(self, files: Mapping[str, str]) -> Networks:
        note = f"built by {self.reference}"
        if set(files) == {"model"} and self.model is not None:
            found = networks_of(self.model, files["model"], BuiltWeights.name)
            return replace(found, notes=(*found.notes, note))
        parts = {
            role: half_of(half, role, files.get(role) or files["model"])
            for role, half in self.halves.items()
            if role in files or "model" in files
        }
        return Networks(
            BuiltWeights.name, parts.get("encoder"), parts.get("decoder"), notes=(note,)
        )


def _require_builder(path: str, options: LoadOptions) -> None:
    """Check that a builder may run; the refusal lists the layers of the file."""
    with open_hdf5(path) as file:
        size, layers = logical_bytes(file), weight_files.layer_names(file)
    if size > options.memory_cap:
        raise CheckpointError(
            f"{path} holds {in_words(size)} of weights{over_cap(options.memory_cap)}", cap_for(size)
        )
    held = ", ".join(layers[:6]) + (", ..." if len(layers) > 6 else "")
    if options.whole:
        raise CheckpointError(
            f"{path} holds weights without an architecture (layers {held}); load them into the "
            "network, and save that with model.save('extractor.keras')"
        )
    if options.reading.builder is None:
        raise CheckpointError(
            f"{path} holds weights without an architecture (layers {held}); add --builder "
            "package.module:function, a function of yours that returns the built VAE whose "
            "save_weights wrote the file, or the tuple (encoder, decoder), and "
            "--trust-checkpoints, because its code will run",
            {"builder": "package.module:function", "trust": True},
        )
    if not options.trust and not is_given(options.reading.builder.partition(":")[0]):
        raise CheckpointError(
            f"{path} holds weights for the model that builder {options.reading.builder!r} returns; "
            "running it needs your trust: add --trust-checkpoints (trust = true)",
            {"trust": True},
        )


def _built(reference: str) -> _Built:
    build = user_function(reference, "builder")
    with working_directory_on_path():
        try:
            result = build()
        except (Exception, SystemExit) as error:  # the user's code
            raise CheckpointError(
                f"builder {reference!r} raised {type(error).__name__}: {str(error)[:300]}; it is "
                "called without arguments"
            ) from error
    if isinstance(result, tuple | list) and len(result) == 2 and all(map(_is_keras, result)):
        built = _Built(reference, None, dict(zip(_HALVES, result, strict=True)))
    elif _is_keras(result):
        built = _Built(reference, result, _halves_of(result))
    else:
        found = type(result).__name__
        raise CheckpointError(
            f"builder {reference!r} returned {found}, expected a Keras model (Keras 3 or tf_keras) "
            "or the tuple (encoder, decoder)"
        )
    for part in [built.model] if built.model is not None else built.halves.values():
        _require_built(part, reference)
    return built


def _is_keras(value: object) -> bool:
    try:
        library_of(value)
    except TypeError:
        return False
    return True


def _halves_of(model: Layer) -> dict[str, Layer]:
    named = {layer.name: layer for layer in model.layers}
    found = {role: getattr(model, role, None) or named.get(role) for role in _HALVES}
    return {role: half for role, half in found.items() if half is not None and _is_keras(half)}


def _require_built(model: Layer, reference: str) -> None:
    """Check that every layer has weights; a model with built halves may itself be unbuilt."""
    unbuilt = [layer.name for layer in getattr(model, "layers", []) if not layer.built]
    if unbuilt or not model.weights:
        missing = f"its layer {unbuilt[0]!r} has" if unbuilt else "it has"
        raise CheckpointError(
            f"builder {reference!r} returned a {type(model).__name__} that is not built: {missing} "
            "no weights yet; call the model (or its encoder and decoder) once on a dummy batch "
            "before returning it, such as vae(numpy.zeros((1, 28, 28, 1), 'float32'))"
        )
    if not model.built:
        model.built = True
