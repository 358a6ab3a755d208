"""SavedModel folders: endpoints ``encode`` and ``decode``, or one folder for each half."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vae_batch.models.formats.format import LoadOptions, Network, Networks
from vae_batch.models.formats.limits import cap_for, in_words, over_cap, ran_out_of_memory
from vae_batch.models.formats.saved_model.endpoint import Endpoint, Loaded, endpoints_of
from vae_batch.models.formats.saved_model.graph import (
    SavedModelMessage,
    harmful_operations,
    logical_bytes,
    read_graph,
)
from vae_batch.plan.errors import CheckpointError
from vae_batch.plan.reading import Reading

_GRAPH = "saved_model.pb"
# Names of endpoints where nothing is declared; for a folder that is one half, then the names that
# Keras and TensorFlow give to a model's only endpoint.
_NAMES = {"encoder": ("encode", "encoder"), "decoder": ("decode", "decoder")}
_ONLY = ("serve", "serving_default", "call", "__call__")


class SavedModelFolder:
    """TensorFlow's folders with a ``saved_model.pb``; implements ``CheckpointFormat``.

    A path may name the folder or the ``saved_model.pb`` in it.
    """

    name = "saved_model"
    suffixes: tuple[str, ...] = ()  # a folder: scans find it by the file in it

    def recognises(self, path: str, head: bytes) -> bool:
        """See the protocol."""
        return (_folder(path) / _GRAPH).is_file()

    def load(self, files: Mapping[str, str], options: LoadOptions) -> Networks:
        """See the protocol."""
        parts: dict[str, Network] = {}
        notes: list[str] = []
        for role, path in files.items():
            folder = str(_folder(path))
            choice = _Choice(folder, endpoints_of(_load(folder, options)), options.reading)
            for part, endpoint in choice.parts(role, whole=options.whole).items():
                parts[part] = endpoint.network(folder)
                notes.append(f"{part}: endpoint {endpoint.name!r} of {Path(folder).name}")
        return Networks(
            self.name,
            parts.get("encoder"),
            parts.get("decoder"),
            parts.get("whole"),
            tuple(notes),
        )


@dataclass(frozen=True)
class _Choice:
    """Which endpoints of a folder are the VAE's parts."""

    folder: str
    found: Mapping[str, Endpoint]
    reading: Reading

    def parts(self, role: str, *, whole: bool) -> dict[str, Endpoint]:
        """Part of the VAE to endpoint, for a folder in the role of ``model`` or of a half."""
        if whole:
            return {"whole": self._only()}
        if role != "model":
            return {role: self._named(role) or self._only()}
        chosen = {part: self._named(part) for part in _NAMES}
        halves = {part: endpoint for part, endpoint in chosen.items() if endpoint is not None}
        return halves or {"whole": self._only()}

    def _named(self, part: str) -> Endpoint | None:
        key = f"{_NAMES[part][0]}_signature"
        declared = getattr(self.reading, key)
        if declared is not None and declared not in self.found:
            raise CheckpointError(
                f"{self.folder} has no endpoint {declared!r}, which {key} names; it has "
                f"{self._listed()}",
                self._choices(part),
            )
        names = (declared,) if declared is not None else _NAMES[part]
        return next((self.found[name] for name in names if name in self.found), None)

    def _only(self) -> Endpoint:
        for name in _ONLY:
            if name in self.found:
                return self.found[name]
        if len(self.found) == 1:
            return next(iter(self.found.values()))
        raise CheckpointError(
            f"{self.folder} has no endpoints 'encode' and 'decode'; it has {self._listed()}; name "
            "the right ones with --encode-signature and --decode-signature, or export the halves "
            "with encoder.export(...) and decoder.export(...)",
            {key: value for part in _NAMES for key, value in self._choices(part).items()},
        )

    def _choices(self, part: str) -> dict[str, object]:
        """The spec key for a part, the likeliest endpoint first: images are the larger input."""
        encodes = part == "encoder"
        found = sorted(self.found.values(), key=lambda e: e.input_size, reverse=encodes)
        names = tuple(endpoint.name for endpoint in found)
        choice = names if len(names) > 1 else names[0]
        return {f"{_NAMES[part][0]}_signature": choice} if names else {}

    def _listed(self) -> str:
        return ", ".join(repr(name) for name in self.found) or "none that takes a tensor"


def _folder(path: str) -> Path:
    return Path(path).parent if Path(path).name == _GRAPH else Path(path)


def _checked_graph(folder: str, options: LoadOptions) -> SavedModelMessage:
    graph = read_graph(folder)
    size = logical_bytes(graph)
    if size > options.memory_cap:
        raise CheckpointError(
            f"{folder} declares {in_words(size)} of tensors{over_cap(options.memory_cap)}",
            cap_for(size),
        )
    harmful = harmful_operations(graph)
    if harmful and not options.trust:
        listed = "; ".join(f"{op} in {where}" for op, where in list(harmful.items())[:4])
        raise CheckpointError(
            f"the graph of {folder} holds operations that may touch files or run code ({listed}); "
            "export it without them, or, if you trust its author, add --trust-checkpoints",
            {"trust": True},
        )
    return graph


def _load(folder: str, options: LoadOptions) -> Loaded:
    import tensorflow as tf

    graph = _checked_graph(folder, options)
    tags = [set(meta.meta_info_def.tags) for meta in graph.meta_graphs]
    serving = ["serve"] if len(tags) > 1 and {"serve"} in tags else None
    try:
        return tf.saved_model.load(folder, tags=serving)
    except Exception as error:  # TensorFlow raises many types
        if ran_out_of_memory(error):
            raise
        raise CheckpointError(
            f"{folder} cannot be loaded as a SavedModel: {str(error)[:300]}; its variables folder "
            "may be missing or damaged: export the model again"
        ) from error
