"""JSON that is defined by Python types: its schema, and what is wrong with a value. Both by pydantic."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic.json_schema import GenerateJsonSchema

CLOSED = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)  # no other keys
OPEN = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


def _check_only(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    check(value)
    return value


AS_GIVEN = WrapValidator(_check_only)  # of objects with other keys: their order stays


def schema_of(adapter: TypeAdapter[Any], title: str) -> dict[str, Any]:
    """The JSON Schema of what `adapter` reads."""
    schema = adapter.json_schema(schema_generator=_WithoutFieldTitles)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": title}


class _WithoutFieldTitles(GenerateJsonSchema):
    """A key's name again with a capital letter says nothing."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def fault(error: ValidationError, whole: str) -> str:
    """Where in a JSON value, which is called `whole`, and what was found and expected there: the first fault of all."""
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"] if part != "[key]") or whole
    if first["type"] == "missing":
        return f"{where}: the key is missing"
    if first["type"] == "unexpected_keyword_argument":
        return f"{where}: an unknown key"
    found = "" if isinstance(first["input"], dict | list) else f", found {first['input']!r:.60}"
    return f"{where}: {first['msg']}{found}"
