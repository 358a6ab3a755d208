"""Flags of ``vae-batch score``, derived from the fields of the spec."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from rich.markup import escape

from vae_batch.metrics.catalogue import GROUPS, metrics_for
from vae_batch.plan import EvaluationSpec, make_spec, read_toml, role_of

_ALSO_CALLED = {
    "extractors": "--extractor",
    "protocols": "--protocol",
    "trust": "--trust-checkpoints",
}
#: Fields that are arguments, or keys of a TOML file only.
_NO_FLAG = ("checkpoints", "per_checkpoint", "stable_for", "tolerance")
#: Every field that has a flag.
FLAGS = tuple(name for name in EvaluationSpec.model_fields if name not in _NO_FLAG)
#: Fields whose description says what each choice means.
_CHOICES_IN_HELP = ("keep_activations", "sigma", "input_fit", "class_output", "prior")
_PANELS = {"reading": "How checkpoints are read", "runtime": "Where and how to run"}

Command = Callable[..., None]

#: Argument of commands that score.
Targets = Annotated[
    list[str] | None,
    typer.Argument(help="Checkpoints (paths, folders, quoted globs, URIs), or one TOML spec."),
]


def with_spec_flags(names: Sequence[str] = FLAGS) -> Callable[[Command], Command]:
    """Give a command one option for each of the named spec fields.

    The command receives those that the user has set as the keyword ``settings``.
    """

    def decorate(command: Command) -> Command:
        hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=hints[name])
            for name, parameter in inspect.signature(command).parameters.items()
            if name != "settings"
        ]
        flags = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(name)
            )
            for name in sorted(names, key=_place)
        ]

        def wrapper(**values: Any) -> None:  # noqa: ANN401
            settings = {flag.name: values.pop(flag.name) for flag in flags}
            given = {name: value for name, value in settings.items() if value not in (None, [])}
            command(**values, settings=given)

        wrapper.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]
        wrapper.__doc__ = command.__doc__
        wrapper.__name__ = command.__name__
        return wrapper

    return decorate


def spec_of(
    targets: list[str], settings: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> EvaluationSpec:
    """The spec of one TOML file or of checkpoints; flags take precedence over the file.

    Args:
        targets: Checkpoints, or one TOML file.
        settings: Values given as flags.
        defaults: Values of fields that the command does not need, if not given.

    Raises:
        InputError: The file or a value cannot be used.
    """
    known = dict(defaults or {})
    if len(targets) == 1 and Path(targets[0]).suffix == ".toml":
        return make_spec({**known, **read_toml(targets[0]), **settings}, source=targets[0])
    if targets:
        return make_spec({**known, **settings, "checkpoints": targets})
    return make_spec({**known, **settings})


def _place(name: str) -> int:
    """Position of the field's panel in the help."""
    return ("identity", "content", "reading", "runtime").index(role_of(name)) or 1


def _option(name: str) -> Any:  # noqa: ANN401
    field = EvaluationSpec.model_fields[name]
    flag = "--" + name.replace("_", "-")
    names = [_ALSO_CALLED[name], flag] if name in _ALSO_CALLED else [flag]
    kind = _plain_type(field.annotation)
    if kind is bool:
        names = [f"{name}/--no-{name[2:]}" for name in names[:1]] + names[1:]
    default = (
        "" if field.is_required() or field.default in (None, ()) else str(_shown(field.default))
    )
    help_text = f"{field.description}" + (f" (default {default})" if default else "")
    choices = choices_of(name)
    if choices and name not in _CHOICES_IN_HELP:
        help_text += f" One of {', '.join(choices)}."
    panel = _PANELS.get(role_of(name), "What is scored")
    option = typer.Option(
        *names,
        help=escape(help_text),
        show_default=False,
        rich_help_panel=panel,
        autocompletion=_completion(choices) if choices else None,
    )
    return Annotated[kind | None, option]


def choices_of(name: str) -> list[str]:
    """The words that a field takes, where these are known; it may take numbers beside them."""
    if name == "metrics":
        return [*GROUPS, "all"]
    if name == "select":
        return metrics_for("select")
    if name == "race":
        return metrics_for("race")
    return _literals(EvaluationSpec.model_fields[name].annotation)


def _literals(annotation: Any) -> list[str]:  # noqa: ANN401
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return [choice for part in get_args(annotation) for choice in _literals(part)]


def _completion(choices: list[str]) -> Callable[[str], list[str]]:
    def matching(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return matching


def _plain_type(annotation: Any) -> Any:  # noqa: ANN401
    """The type that a flag is parsed as; pydantic checks the rest, as for TOML."""
    if get_origin(annotation) is tuple:
        return list[str]
    if any(get_origin(part) is Literal for part in get_args(annotation)):
        return str
    for kind in (bool, int, float):
        if annotation is kind or kind in get_args(annotation):
            return kind
    return str


def _shown(default: Any) -> Any:  # noqa: ANN401
    return ", ".join(default) if isinstance(default, tuple) else default
