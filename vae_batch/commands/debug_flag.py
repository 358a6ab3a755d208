"""The flag ``--debug`` of every command."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from vae_batch.run.progress.log import DEBUG_VARIABLE

_OPTION = Annotated[
    bool,
    typer.Option(
        "--debug",
        help=f"Log everything, on workers too, with tracebacks (also: {DEBUG_VARIABLE}=1).",
        show_default=False,
    ),
]


def with_debug_flag(command: Callable[..., None]) -> Callable[..., None]:
    """A command of typer with the option ``--debug``, which sets ``VAE_BATCH_DEBUG``."""
    hints = get_type_hints(command, include_extras=True)
    own = [
        parameter.replace(annotation=hints.get(name, parameter.annotation))
        for name, parameter in inspect.signature(command).parameters.items()
    ]
    flag = inspect.Parameter(
        "debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_OPTION
    )

    def wrapper(*, debug: bool, **values: Any) -> None:  # noqa: ANN401
        if debug:
            os.environ[DEBUG_VARIABLE] = "1"  # read by this process and by its workers
        command(**values)

    wrapper.__signature__ = inspect.Signature([*own, flag])  # type: ignore[attr-defined]
    wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
    return wrapper
