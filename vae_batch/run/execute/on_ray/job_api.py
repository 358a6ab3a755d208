"""The job API of a Ray cluster, with its errors as sentences."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ray.exceptions import RayError
from ray.job_submission import JobSubmissionClient

from vae_batch.plan import InputError

#: Ray's loggers that tell of each file it packs and sends.
_TALKATIVE = ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging")


@contextmanager
def job_api(url: str) -> Iterator[JobSubmissionClient]:
    """A client of the API at ``url``, such as ``http://127.0.0.1:8265``.

    Raises:
        InputError: Nothing answers there, or it does not know the token.
    """
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        try:
            client = JobSubmissionClient(url)
        except (ConnectionError, RuntimeError, OSError) as error:
            raise InputError(f"no Ray job API answers at {url}: {error}; check --address") from None
        yield client
    except RayError as error:  # a token may be refused at the first call or a later one
        raise InputError(f"{url}: {error}") from None
