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

from vae_batch.plan.location import Location, without_user

#: Parameters of a URI that hold no secret; the values of all others are not shown.
_OPEN = (
    "region|scheme|endpoint_override|allow_bucket_(?:creation|deletion)|anonymous|tls_ca_[a-z_]+"
    "|retry_limit_seconds|check_directory_existence_before_creation|force_virtual_addressing"
)
_SECRET = re.compile(rf"([?&](?!(?:{_OPEN})=)[A-Za-z_.-]+=)[^&\s'\"]*")

_ENDPOINT = re.compile(r"(?:^|&)endpoint_override=([^&]*)")


def without_credentials(text: str) -> str:
    """A text whose URIs show no ``key:secret@``, and of their query only what is surely open."""
    if "://" not in text:
        return text
    return _SECRET.sub(r"\1***", without_user(text))


#: ``key:secret@`` wherever it stands: behind a scheme that is misspelt, or behind none.
_LOOSE = re.compile(r"(?<![^\s'\"(=,/\\:])[^\s'\"/\\:@()=,]{2,}:[^\s'\"@]{3,}@")

_NAMED_SECRET = re.compile(
    r"([?&;][\w.-]*(?:secret|token|passw|key|sig|credential)[\w.-]*=)[^&\s'\"]+", re.IGNORECASE
)


def without_secrets(text: str) -> str:
    """A text for people in which nothing looks like credentials, in no URI or in a misspelt one.

    Unlike :func:`without_credentials` it may change a local path, so that it is not for what is
    stored and looked up again.
    """
    return _NAMED_SECRET.sub(r"\1***", _LOOSE.sub("***@", without_credentials(text)))


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
    giver, taker = Location.parse(location), Location.parse(uri)
    if not giver.scheme == taker.scheme == "s3" or ":" not in giver.user or taker.user:
        return uri
    # A "?" that is no part of a query: the endpoint may be in it.
    if any("?" in place.authority + place.written_path for place in (giver, taker)):
        return uri
    if _ENDPOINT.findall(giver.query)[:1] != _ENDPOINT.findall(taker.query)[:1]:
        return uri
    return uri.replace("s3://", f"s3://{giver.user}@", 1)
