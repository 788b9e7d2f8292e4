"""The searches that a person makes of one spec: of another name, searcher or seed, and the controls beside it."""

from dataclasses import dataclass

from rlnas.controller import SETTINGS
from rlnas.errors import UserError
from rlnas.registry import kinds, resolve
from rlnas.spec import SearchSpec, parse_spec

GROUP = "rlnas.controller_settings"


@dataclass(frozen=True)
class Control:
    """A searcher that others are compared with.

    Args:
        suffix: of a control's name, after that of the search.
        found: all that a search has found which beats random sampling, but not this.
    """

    suffix: str
    found: str = ""


CONTROLS = {"random": Control("control"), "largest": Control("largest", "nothing but size")}
"""Kind of the searcher -> the control that it is."""


def control_of(spec: SearchSpec, kind: str = "random") -> SearchSpec:
    """Return a control of a search, such as NAME-control: the same but for its controller, so of equal budget. It
    begins with nothing, and its winner is not finalized: it is there to be compared with.

    Raises:
        UserError: there is no such control, it means nothing in this space, or the name becomes too long.
    """
    if kind not in CONTROLS:
        raise UserError(f"control of {spec.name}: {kind!r} is no control; allowed: {', '.join(CONTROLS)}")
    if why := means_nothing(spec, kind):
        allowed = ", ".join(known for known in CONTROLS if not means_nothing(spec, known))
        raise UserError(f"control of {spec.name}: {why}; allowed: {allowed}")
    nothing = {"warm_start": None, "finalize": None}
    changes = {"name": f"{spec.name}-{CONTROLS[kind].suffix}", "controller": {"kind": kind}}
    return parse_spec(spec.document | changes | nothing, f"control of {spec.name}")


def means_nothing(spec: SearchSpec, kind: str) -> str:
    """Say why a searcher would only sample at random in the space of a search; empty: it would not."""
    size = resolve(SETTINGS, kind, GROUP).chooses_by
    if not size or size in spec.space.sizes:
        return ""
    return f"{kind} means nothing in space {spec.space.kind}, which tells no architectures apart by their {size}"


def with_name(spec: SearchSpec, name: str) -> SearchSpec:
    """Return the same search under another name.

    Raises:
        UserError: it cannot be a name.
    """
    return parse_spec(spec.document | {"name": name}, f"{spec.name} as {name}")


def with_searcher(spec: SearchSpec, kind: str) -> tuple[SearchSpec, list[str]]:
    """Return the same search with another searcher, and which settings of its own are left out, as another's.

    Raises:
        UserError: there is no such searcher, or it needs settings.
    """
    if kind == spec.controller.kind:
        return spec, []
    if kind not in (known := kinds(SETTINGS, GROUP)):
        raise UserError(f"searcher of {spec.name}: unknown kind {kind!r}; allowed: {', '.join(known)}")
    left_out = [f"controller.{name}" for name in spec.document["controller"] if name != "kind"]
    return parse_spec(spec.document | {"controller": {"kind": kind}}, f"searcher of {spec.name}"), left_out


def with_seed(spec: SearchSpec, seed: int) -> SearchSpec:
    """Return the same search with another seed, NAME-sSEED.

    Raises:
        UserError: the seed is the search's own, or the name becomes too long.
    """
    if seed == spec.seed:
        raise UserError(f"seed {seed} of {spec.name}: is its own, and says nothing new; allowed: any other seed")
    changes = {"name": f"{spec.name}-s{seed}", "seed": seed}
    return parse_spec(spec.document | changes, f"seed {seed} of {spec.name}")
