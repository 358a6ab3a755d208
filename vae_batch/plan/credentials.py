"""Credentials in URIs: never stored, and lent by the location that a stored run is opened with.

Whatever is stored or shown goes through :func:`without_credentials`. A run that is opened again
(``report``, ``rescore``, ``verify``, a resumed ``score``) takes them from the location that it is
opened by: for the output folder, and for the other stored URIs of the same service, such as a
shared reference cache (:func:`lend_credentials`). Otherwise they come from the environment, as
pyarrow finds them (``AWS_ACCESS_KEY_ID``, profiles, the machine's role).
"""

from __future__ import annotations

import re
from typing import Any

#: ``key:secret@``; where a secret's / or ? was not written as %2F or %3F, up to the last @.
_USER = re.compile(r"(?<=://)[^\s/?#:]*:(?:[^\s/?#]*|(?:(?!://)\S)*)@")

#: Parameters of a URI that hold no secret; the values of all others are not shown.
_OPEN = (
    "region|scheme|endpoint_override|allow_bucket_(?:creation|deletion)|anonymous|tls_ca_[a-z_]+"
    "|retry_limit_seconds|check_directory_existence_before_creation|force_virtual_addressing"
)
_SECRET = re.compile(rf"([?&](?!(?:{_OPEN})=)[A-Za-z_.-]+=)[^&\s'\"]*")

_PARTS = re.compile(r"(s3://)(?:([^/?@]*:[^/?@]*)@)?([^?]*)(?:\?(.*))?", re.DOTALL)
_ENDPOINT = re.compile(r"(?:^|&)endpoint_override=([^&]*)")


def without_credentials(text: str) -> str:
    """A text whose URIs show no ``key:secret@``, and of their query only what is surely open."""
    if "://" not in text:
        return text
    return _SECRET.sub(r"\1***", without_user(text))


def without_user(text: str) -> str:
    """A text whose URIs show no ``key:secret@``; ``?`` may be a wildcard in it."""
    return _USER.sub("", text)


def values_without_credentials(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """A JSON value whose texts, keys among them, hold no credentials of URIs."""
    if isinstance(value, str):
        return without_credentials(value)
    if isinstance(value, dict):
        return {
            values_without_credentials(k): values_without_credentials(v) for k, v in value.items()
        }
    if isinstance(value, list | tuple):
        return [values_without_credentials(item) for item in value]
    return value


def lend_credentials(location: str, uri: str) -> str:
    """A URI with the ``key:secret`` of a location, where both are of one S3 service.

    One service is one ``endpoint_override``, or none on both sides; a key is never sent to
    another. A URI that has credentials keeps its own.
    """
    giver, taker = _PARTS.fullmatch(location), _PARTS.fullmatch(uri)
    if giver is None or taker is None or giver[2] is None or taker[2] is not None:
        return uri
    if _endpoint(giver[4]) != _endpoint(taker[4]):
        return uri
    query = "" if taker[4] is None else f"?{taker[4]}"
    return f"{taker[1]}{giver[2]}@{taker[3]}{query}"


def _endpoint(query: str | None) -> str:
    return "".join(_ENDPOINT.findall(query or "")[:1])
