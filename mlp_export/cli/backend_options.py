"""The options that backends declare, as one group of the command line: each is told with the backends that have it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any, Literal, cast

import typer

from mlp_export.backends.base import BackendOptions, Option, backend_options, delegates, flag, get_delegate
from mlp_export.errors import UsageError


def with_backend_options(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with a parameter for each option that some backend declares, in place of its `**own`."""
    signature = inspect.signature(command, eval_str=True)
    parameters = []
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            parameters += [_parameter(name) for name in _declared()]
        else:
            parameters.append(parameter)
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return command


def chosen_options(backend: str, given: Mapping[str, Any]) -> list[BackendOptions]:
    """The options of `backend` for the values on the command line: several where its repeatable option is repeated.

    Raises UsageError for a value that is no choice, and for an option of other backends.
    """
    delegate = get_delegate(backend)
    values = {name: value for name, value in given.items() if value not in (None, False, [], ())}
    declared = delegate.options.declared()
    for name, value in values.items():
        if name not in declared:
            shown = flag(name) if value is True else f"{flag(name)} {', '.join(map(str, _several(value)))}"
            raise UsageError(
                f"{shown} with --backend {backend}",
                f"it is for --backend {' or '.join(_declared()[name])}: leave it out",
            )
    repeated = next((name for name in values if declared[name].repeatable), None)
    choices = [values] if repeated is None else [{**values, repeated: value} for value in values[repeated]]
    return [backend_options(backend, **choice) for choice in choices]


def _several(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else (value,)


def _declared() -> dict[str, dict[str, Option]]:
    """Field -> the backends that declare it, with how."""
    found: dict[str, dict[str, Option]] = {}
    for name, delegate in delegates().items():
        for field, option in delegate.options.declared().items():
            found.setdefault(field, {})[name] = option
    return found


def _parameter(name: str) -> inspect.Parameter:
    by_backend = _declared()[name]
    options = list(by_backend.values())
    help = "; ".join(f"{backend}: {option.help}{_default(backend, name)}" for backend, option in by_backend.items())
    choices = tuple(dict.fromkeys(choice for option in options for choice in option.choices))
    metavar = next((option.metavar for option in options if option.metavar), None)
    kind: Any
    if any(option.repeatable for option in options):
        kind, metavar = list[str] | None, metavar or "|".join(choices)
    elif choices:
        kind = cast(Any, Literal)[choices] | None
    else:
        kind = bool if _default_of(next(iter(by_backend)), name) is False else str | None
    annotation = Annotated[kind, typer.Option(flag(name), help=f"{help}.", metavar=metavar)]
    default = False if kind is bool else None
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)


def _default(backend: str, name: str) -> str:
    """What is taken where the option is not given, where there is a choice."""
    default, option = _default_of(backend, name), _declared()[name][backend]
    return "" if default is False or len(option.choices) == 1 else f" ({default} if not given)"


def _default_of(backend: str, name: str) -> Any:
    return next(field.default for field in fields(delegates()[backend].options) if field.name == name)
