"""JSON that is defined by Python types: its schema, and what is wrong with a value. Both by pydantic."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails

CLOSED = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)  # no other keys
OPEN = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


def _check_only(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    check(value)
    return value


AS_GIVEN = WrapValidator(_check_only)  # of objects with other keys: their order stays

_WORDS = {"missing": "the key is missing", "unexpected_keyword_argument": "an unknown key"}


def schema_of(adapter: TypeAdapter[Any], title: str) -> dict[str, Any]:
    """The JSON Schema of what `adapter` reads."""
    schema = adapter.json_schema(schema_generator=_WithoutFieldTitles)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": title}


class _WithoutFieldTitles(GenerateJsonSchema):
    """A key's name again with a capital letter says nothing."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def first_fault(error: ValidationError) -> ErrorDetails:
    """The first of the faults that pydantic found; of several kinds of its own, those of this project come first."""
    faults = error.errors(include_url=False, include_context=False)
    return min(faults, key=lambda fault: fault["type"].islower())


def sentence(fault: ErrorDetails, whole: str) -> str:
    """Where in a JSON value, which is called `whole`, and what was found and expected there."""
    where = ".".join(str(part) for part in fault["loc"] if part != "[key]") or whole
    message = _WORDS.get(fault["type"], fault["msg"])
    found = (
        "" if fault["type"] in _WORDS or isinstance(fault["input"], dict | list) else f", found {fault['input']!r:.60}"
    )
    return f"{where}: {message}{found}"
