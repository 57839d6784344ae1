"""Validation faults in plain words: which field, what it must be, what was sent."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

Limit = int | float | str | list[str] | None

ERRORS_MAX = 20
_SHOWN_CHARS = 60  # of a value that was sent
_SELF_EXPLAINING = ("missing", "extra_forbidden", "value_error", "string_too_long")


class FieldError(BaseModel):
    """One field at fault."""

    pointer: str = Field(description="JSON pointer (RFC 6901) into the body; /name for a query parameter.")
    message: str
    limit: Limit = Field(default=None, description="The limit that was broken, if one was.")


def field_error(name: str, rule: str, got: object = ..., limit: Limit = None) -> FieldError:
    """A fault found by the gateway itself, in the same words: field_error("width", "must be at most 9", 10, 9).

    name: of a field, or with dots of one inside another.
    """
    return FieldError(pointer=pointer(name.split(".")), message=f"{name} {rule}{_got(got)}", limit=limit)


def pointer(parts: Sequence[str | int]) -> str:
    return "".join("/" + _printable(str(part)).replace("~", "~0").replace("/", "~1") for part in parts)


def describe_all(faults: Iterable[Mapping[str, Any]]) -> list[FieldError]:
    """Pydantic's faults as ours, at most ERRORS_MAX of them."""
    return [_describe(fault) for fault, _ in zip(faults, range(ERRORS_MAX), strict=False)]


def _describe(fault: Mapping[str, Any]) -> FieldError:
    where = list(fault["loc"][1:])  # the first part says "body" or "query"
    if fault["type"] == "misfit":
        return FieldError(pointer=pointer([*where, fault["ctx"]["field"]]), message=_said(fault))
    name = ".".join(_printable(str(part)) for part in where) or "the body"
    rule, limit = _rule(fault)
    shown = "" if fault["type"] in _SELF_EXPLAINING else _got(fault["input"])
    return FieldError(pointer=pointer(where), message=f"{name} {rule}{shown}" if rule else _said(fault), limit=limit)


def _rule(fault: Mapping[str, Any]) -> tuple[str, Limit]:
    """What the field must be, and its limit. An empty rule: pydantic's own words are a whole sentence."""
    context = fault.get("ctx", {})
    match fault["type"]:
        case "greater_than_equal":
            return f"must be at least {_number(context['ge'])}", context["ge"]
        case "greater_than":
            return f"must be more than {_number(context['gt'])}", context["gt"]
        case "less_than_equal":
            return f"must be at most {_number(context['le'])}", context["le"]
        case "string_too_long":
            most, got = context["max_length"], len(fault["input"])
            return f"must hold at most {most} characters (got {got})", most
        case "int_type" | "int_from_float" | "int_parsing" | "int_parsing_size":
            return "must be a whole number", None
        case "float_type" | "float_parsing" | "finite_number":
            return "must be a finite number", None
        case "bool_parsing" | "bool_type":
            return "must be true or false", None
        case "string_type":
            return "must be a text", None
        case "string_unicode":
            return "must be valid Unicode, without lone surrogates", None
        case "enum" | "literal_error":
            return f"must be one of {context['expected']}", context["expected"]
        case "model_attributes_type" | "model_type" | "dict_type":
            return "must be a JSON object", None
        case "extra_forbidden":
            return "is not a known field", None
        case "missing":
            return "is required", None
        case "value_error" if len(fault["loc"]) > 1:
            return str(context["error"]), None
        case _:
            return "", None


def _said(fault: Mapping[str, Any]) -> str:
    return _printable(str(fault["msg"]).removeprefix("Value error, "))


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _got(value: object) -> str:
    """What was sent, short and harmless. Arrays and objects are only named: they may be deep and long."""
    match value:
        case None:
            shown = "null"
        case bool() | int() | float() | str():
            shown = json.dumps(value)
        case list():
            shown = "an array"
        case dict():
            shown = "an object"
        case _:
            return ""
    if len(shown) > _SHOWN_CHARS:
        shown = shown[:_SHOWN_CHARS] + "..."
    return f" (got {shown})"


def _printable(text: str) -> str:
    """Lone surrogates cannot be sent as UTF-8; long names help nobody."""
    return text[:_SHOWN_CHARS].encode("utf-8", "replace").decode()
