"""A section of a search's spec: its fields are what a person may set. Searches outlive the code that began them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator

EARLIER = {"reading": "a document of a search that may have begun before a field was there"}
"""The context in which such a document is validated."""


class Section(BaseModel):
    """A section of a spec.

    A field that came later than the first searches, or whose default changed, says what those have that left it open:
    `Field(default=NEW, json_schema_extra={"earlier": OLD})`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _fields_that_came_later(cls, document: Any, info: ValidationInfo) -> Any:
        if info.context is not EARLIER or not isinstance(document, dict):
            return document
        extras = {name: field.json_schema_extra for name, field in cls.model_fields.items()}
        earlier = {n: extra["earlier"] for n, extra in extras.items() if isinstance(extra, dict) and "earlier" in extra}
        return earlier | document
