"""A section of a search's spec: its fields are what a person may set. Searches outlive the code that began them."""

import re
from collections.abc import Iterator
from itertools import chain
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator, model_validator

from rlnas.errors import UserError

EARLIER = {"reading": "a document of a search that may have begun before a field was there"}
"""The context in which such a document is validated."""


NEWER = "a newer version of rlnas wrote it"
UPGRADE = "upgrade rlnas to that version, here and in the cluster's image"


class Section(BaseModel):
    """A section of a spec.

    A field that came later than the first searches, or whose default changed, says what those have that left it open:
    `Field(default=NEW, json_schema_extra={"earlier": OLD})`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `children: yes`, which would be 1 child; in lists, too."""
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, bool) and _is_number(cls.model_fields[str(info.field_name)].annotation):
                raise ValueError(f"{str(item).lower()} is no number; allowed: a number")
        return value

    @model_validator(mode="before")
    @classmethod
    def _fields_that_came_later(cls, document: Any, info: ValidationInfo) -> Any:
        if info.context is not EARLIER or not isinstance(document, dict):
            return document
        extras = {name: field.json_schema_extra for name, field in cls.model_fields.items()}
        earlier = {n: extra["earlier"] for n, extra in extras.items() if isinstance(extra, dict) and "earlier" in extra}
        return earlier | document


def newer(error: ValidationError) -> str:
    """Say, of a document of a search, that a newer version of rlnas wrote it; empty: it is wrong in another way.

    What is known keeps its name and its meaning, and what is new is a field that may be left out. So unknown fields are
    all that this version can see of a newer one (docs/state.md has the rules).
    """
    found = error.errors(include_url=False, include_input=False)
    if any(wrong["type"] != "extra_forbidden" for wrong in found):
        return ""
    field, more = ".".join(str(part) for part in found[0]["loc"]), len(found) - 1
    return f"{NEWER} (it has {field}{f' and {more} more' * bool(more)}, which this one does not know); {UPGRADE}"


def wrong(error: ValidationError, model: Any, prefix: str = "") -> str:
    """Say what is wrong with a section, and what is allowed, in one line.

    Args:
        error: found by `model`.
        model: of the section.
        prefix: stands before the names of its fields, such as `loop.`.
    """
    # A key that is unknown may be the one that is missing, misspelt.
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    more = error.error_count() - 1
    where = prefix + ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ").replace("a valid tuple", "a list")
    if isinstance(first.get("ctx", {}).get("error"), UserError):
        what = message
    elif first["type"] == "extra_forbidden":
        what = f"unknown key {where}{_allowed_keys(model, first['loc'][:-1])}"
    elif first["type"] == "missing":
        what = f"{where} is missing"
    elif first["type"] == "value_error":
        inside = re.match(r"\w+: ", message)  # a model names the field it is about
        what = f"{where.rstrip('.')}{'.' if inside and where else ': ' if where else ''}{message}"
    else:
        what = f"{where}: {message}, got {first['input']!r}"
    return what + (f" (and {more} more)" if more else "")


def _allowed_keys(model: Any, path: tuple[int | str, ...]) -> str:
    for part in path:
        field = getattr(model, "model_fields", {}).get(part)
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()  # a section may be left out: null
        model = next((kind for kind in kinds if hasattr(kind, "model_fields")), None)
    fields = getattr(model, "model_fields", ())  # a plugin's section may hold what is not a plain model
    return f"; allowed: {', '.join(fields)}" if fields else ""


def _is_number(annotation: Any) -> bool:
    """Whether a field holds a number or several, or may be left open."""
    kinds = set(_kinds(annotation))
    return bool not in kinds and not kinds.isdisjoint((int, float))


def _kinds(annotation: Any) -> Iterator[Any]:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _kinds(inner[0])
    elif origin in (UnionType, Union, tuple):
        yield from chain.from_iterable(map(_kinds, inner))
    else:
        yield annotation
