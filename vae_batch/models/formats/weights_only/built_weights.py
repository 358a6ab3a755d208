"""Weight files without an architecture, put into the model that the user's function builds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vae_batch.models.formats.format import LoadOptions, Networks
from vae_batch.models.formats.keras.graph import library_of
from vae_batch.models.formats.keras.hdf5_contents import is_hdf5, logical_bytes, open_hdf5
from vae_batch.models.formats.keras.network import network_of, networks_of
from vae_batch.models.formats.limits import cap_for, in_words, over_cap
from vae_batch.models.formats.user_module import user_function, working_directory_on_path
from vae_batch.models.formats.weights_only import weight_files
from vae_batch.plan.errors import CheckpointError

_HALVES = ("encoder", "decoder")


class BuiltWeights:
    """The format ``weights+builder``: HDF5 weights of Keras 3, tf.keras or the older Keras.

    Implements :class:`vae_batch.models.formats.format.CheckpointFormat`.
    """

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

    def load(self, files: Mapping[str, str], terms: LoadOptions) -> Networks:
        """See the protocol.

        Raises:
          CheckpointError: No builder is declared or trusted, it fails, it returns no built VAE,
            or the weights do not fit what it returns.
        """
        for path in files.values():
            _require_builder(path, terms)
        built = _built(str(terms.reading.builder))
        for role, path in files.items():
            if role == "model":
                built.assign(path)
            else:
                weight_files.assign(path, built.half(role), built.reference)
        return built.networks(files)


@dataclass(frozen=True)
class _Built:
    """What a builder returned: one model, or its halves by name."""

    reference: str
    model: Any
    halves: Mapping[str, Any]

    def assign(self, path: str) -> None:
        """Put one file's weights into the whole, or, where it is laid out otherwise, the halves."""
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
                raise unfit from None

    def half(self, role: str) -> Any:  # noqa: ANN401
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
            return Networks(
                found.format, found.encoder, found.decoder, found.whole, (*found.notes, note)
            )
        parts = {
            role: network_of(half, files.get(role) or files["model"])
            for role, half in self.halves.items()
            if role in files or "model" in files
        }
        return Networks(BuiltWeights.name, **parts, notes=(note,))


def _require_builder(path: str, terms: LoadOptions) -> None:
    """Reads the file with checks, so that the refusal can say what is in it.

    Raises:
      CheckpointError: The file is damaged or too large, or code may not be run.
    """
    with open_hdf5(path) as file:
        size, layers = logical_bytes(file), weight_files.layer_names(file)
    if size > terms.memory_cap:
        raise CheckpointError(
            f"{path} holds {in_words(size)} of weights{over_cap(terms.memory_cap)}", cap_for(size)
        )
    held = ", ".join(layers[:6]) + (", ..." if len(layers) > 6 else "")
    if terms.reading.builder is None:
        raise CheckpointError(
            f"{path} holds weights without an architecture (layers {held}); add --builder "
            "package.module:function, a function of yours that returns the built VAE whose "
            "save_weights wrote the file, or the tuple (encoder, decoder), and "
            "--trust-checkpoints, because it is code that is run",
            {"builder": "package.module:function", "trust": True},
        )
    if not terms.trust:
        raise CheckpointError(
            f"{path} holds weights for the model that builder {terms.reading.builder!r} returns; "
            "that is code that is run, so add --trust-checkpoints (trust = true)",
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


def _is_keras(value: Any) -> bool:  # noqa: ANN401
    try:
        library_of(value)
    except TypeError:
        return False
    return True


def _halves_of(model: Any) -> dict[str, Any]:  # noqa: ANN401
    named = {layer.name: layer for layer in model.layers}
    found = {role: getattr(model, role, None) or named.get(role) for role in _HALVES}
    return {role: half for role, half in found.items() if half is not None and _is_keras(half)}


def _require_built(model: Any, reference: str) -> None:  # noqa: ANN401
    """Every layer has its weights; a model that only holds built halves may itself be unbuilt.

    Raises:
      CheckpointError: Some layer has none yet.
    """
    layers = [layer for layer in getattr(model, "layers", [])]
    unbuilt = [layer.name for layer in layers if not layer.built]
    if unbuilt or not model.weights:
        missing = f"its layer {unbuilt[0]!r} has" if unbuilt else "it has"
        raise CheckpointError(
            f"builder {reference!r} returned a {type(model).__name__} that is not built: {missing} "
            "no weights yet; call the model (or its encoder and decoder) once on a dummy batch "
            "before returning it, such as vae(numpy.zeros((1, 28, 28, 1), 'float32'))"
        )
    if not model.built:
        model.built = True
