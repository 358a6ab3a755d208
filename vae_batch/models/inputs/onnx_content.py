"""ONNX files by their content, without the onnx package: what is one, and which files belong to it.

Source of the field numbers: onnx.proto3 of https://github.com/onnx/onnx.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _BYTES = 0, 2
_WIDTHS = {1: 8, 5: 4}  # bytes of fixed-width values
# Wire types of ModelProto's fields: ir_version is the first that writers write.
_MODEL = dict.fromkeys((2, 3, 4, 6, 7, 8, 14, 20, 25, 26), _BYTES) | {1: _VARINT, 5: _VARINT}
_IR_VERSION, _GRAPH, _INITIALIZER, _EXTERNAL_DATA = 1, 7, 5, 13
_KEY, _VALUE = 1, 2
# SavedModel's message begins like a model of version 1.
_OLDEST, _NEWEST = 3, 1000

Content = bytes | memoryview


def is_onnx(head: bytes) -> bool:
    """Whether a file is an ONNX model, by its first bytes."""
    version = 0
    try:
        for number, value in _fields(head):
            if _MODEL.get(number) != (_VARINT if isinstance(value, int) else _BYTES):
                return False
            if not version and number != _IR_VERSION:
                return False
            if number == _IR_VERSION and isinstance(value, int):
                version = value
            if number == _GRAPH:
                break
        else:
            return False
    except ValueError:
        return False
    return _OLDEST <= version <= _NEWEST


def files_beside(content: Content) -> tuple[str, ...]:
    """Names of the files in a model's own folder that hold weights of it, sorted.

    Exporters write large weights beside the model (``model.onnx.data``). Names that lead elsewhere
    are left out: such a model is refused when it is loaded.
    """
    found: set[str] = set()
    try:
        for graph in _values(memoryview(content), _GRAPH):
            for tensor in _values(graph, _INITIALIZER):
                for entry in _values(tensor, _EXTERNAL_DATA):
                    if list(map(bytes, _values(entry, _KEY))) == [b"location"]:
                        found.update(bytes(name).decode() for name in _values(entry, _VALUE))
    except ValueError:  # damaged, which loading it says
        return ()
    return tuple(sorted(name for name in found if is_plain_name(name)))


def is_plain_name(name: str) -> bool:
    """Whether a name is that of a file in the same folder."""
    return name not in ("", ".", "..") and not set(name) & {"/", "\\", "\0"}


def _values(message: memoryview, wanted: int) -> Iterator[memoryview]:
    for number, value in _fields(message):
        if number == wanted and isinstance(value, memoryview):
            yield value


def _fields(message: Content) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a protobuf message; a value may be cut off at the end.

    Raises:
        ValueError: It is no such message.
    """
    view, at = memoryview(message), 0
    while at < len(view):
        key, at = _varint(view, at)
        number, wire = key >> 3, key & 7
        value: int | memoryview
        if wire == _VARINT:
            value, at = _varint(view, at)
        elif wire == _BYTES:
            size, at = _varint(view, at)
            value, at = view[at : at + size], at + size
        elif wire in _WIDTHS:
            value, at = view[at : at + _WIDTHS[wire]], at + _WIDTHS[wire]
        else:
            raise ValueError(f"wire type {wire}")
        yield number, value


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(view) and shift < 64:
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("no varint")
