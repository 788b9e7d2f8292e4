"""Write the tables of the documentation that come from the code: `python docs/make_tables.py`, or `make docs`.

Such a table stands between `<!-- fields of MODULE:CLASS -->`, or `<!-- parameters of MODULE:PIPELINE -->`, and
`<!-- end -->`. What a field means is its description, or what the docstring of its class says under `Args`.
"""

import importlib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
PLACE = re.compile(r"(<!-- (fields|parameters) of (\S+):(\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
WORDS = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "`true`, `false`",
    "object": "mapping",
    "null": "`null`",
}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def filled_in(text: str) -> str:
    """Return a document with its tables as the code now has them.

    Raises:
        LookupError: a field or parameter that nothing explains.
    """

    def table(place: re.Match[str]) -> str:
        found = getattr(importlib.import_module(place[3]), place[4])
        lines = _fields(found) if place[2] == "fields" else _parameters(found)
        return place[1] + "".join(f"{line}\n" for line in lines) + place[5]

    return PLACE.sub(table, text)


def _fields(model: Any) -> Iterator[str]:
    schema = model.model_json_schema()
    meanings = _arguments(model)
    yield "| field | default | allowed | meaning |"
    yield "|---|---|---|---|"
    for name, about in schema["properties"].items():
        if name == "kind":
            continue
        meaning = model.model_fields[name].description or meanings.get(name)
        if not meaning:
            raise LookupError(f"{model.__name__}.{name} has neither a description nor a line in the docstring")
        default = "needed" if name in schema.get("required", ()) else _value(about.get("default", {}))
        yield f"| `{name}` | {default} | {_allowed(about, schema)} | {_sentence(meaning)} |"


def _parameters(pipeline: Any) -> Iterator[str]:
    meanings = _arguments(pipeline.pipeline_func)
    yield "| run parameter | default | meaning |"
    yield "|---|---|---|"
    for name, about in pipeline.component_spec.inputs.items():
        if name not in meanings:
            raise LookupError(f"parameter {name} has no line in the docstring")
        default = _value(about.default) if about.optional else "needed"
        yield f"| `{name}` | {default} | {_sentence(meanings[name])} |"


def _arguments(documented: Any) -> dict[str, str]:
    """The `Args` of a docstring; a class has those of its parents too."""
    found: dict[str, str] = {}
    for owner in reversed(documented.__mro__) if isinstance(documented, type) else [documented]:
        lines = inspect.cleandoc(owner.__doc__ or "").partition("Args:\n")[2].partition("\n\n")[0]
        for names, meaning in re.findall(r"^    (\w[\w, ]*): (.*(?:\n     +.*)*)", lines, re.MULTILINE):
            found |= dict.fromkeys(re.findall(r"\w+", names), " ".join(meaning.split()))
    return found


def _value(value: Any) -> str:
    """A default, as it is written in YAML."""
    if isinstance(value, str | list | tuple | dict):
        text = value if isinstance(value, str) else f"[{', '.join(map(str, value))}]"
        return f"`{text}`" if value else "empty"
    if value is None or isinstance(value, bool):
        return f"`{json.dumps(value)}`"
    return f"`{_number(value).replace(',', '')}`"


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:.12f}".rstrip("0")


def _allowed(about: dict[str, Any], schema: dict[str, Any]) -> str:
    if "anyOf" in about:
        return " or ".join(_allowed(option, schema) for option in about["anyOf"])
    if "$ref" in about or "type" not in about:
        return "a section" if "enum" not in about else ", ".join(f"`{option}`" for option in about["enum"])
    if "enum" in about or "const" in about:
        return ", ".join(f"`{option}`" for option in about.get("enum", [about.get("const")]))
    if about["type"] == "array":
        return f"list of: {_allowed(about['items'], schema)}" if about.get("items") else "list"
    if pattern := about.get("pattern"):
        choice = re.fullmatch(r"\^\((\w+(?:\|\w+)+)\)\$", pattern)
        return ", ".join(f"`{option}`" for option in choice[1].split("|")) if choice else "text"
    limits = ", ".join(f"{sign} {_number(about[key])}" for key, sign in BOUNDS.items() if key in about)
    return f"{WORDS.get(about['type'], about['type'])} {limits}".strip()


def _sentence(text: str) -> str:
    text = re.sub(r"<\w+>", r"`\g<0>`", text.strip().removesuffix("."))  # else a browser takes it for a tag
    return text.replace("|", "\\|")


if __name__ == "__main__":
    for document in sorted(FOLDER.glob("*.md")):
        document.write_text(filled_in(document.read_text("utf-8")), "utf-8")
