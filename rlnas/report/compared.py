"""What a search is compared with: the same search with other seeds, and its controls."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlnas.errors import SearchDeleted, StoreError, UserError, one_line
from rlnas.report.statistics import Difference, Floats, difference
from rlnas.state import Ledger, Summary, list_searches, open_search
from rlnas.variants import CONTROLS, means_nothing


@dataclass(frozen=True)
class Track:
    """The children of one search in the order of their proposal.

    Args:
        name: of the search.
        rewards: of N children; NaN where a lost child counts for nothing.
        ok: [N], whether the child was scored.
        stopped: [N], whether it was scored before the end of its training.
        above: children that were above a limit, and so not trained.
    """

    name: str
    rewards: Floats
    ok: np.ndarray
    stopped: np.ndarray
    above: int = 0

    @property
    def scored(self) -> Floats:
        """The rewards, NaN where the child was not scored."""
        return np.where(self.ok, self.rewards, np.nan)


@dataclass(frozen=True)
class ControlTracks:
    """A control that was run.

    Args:
        kind: of its searcher.
        tracks: of one or several seeds, each with a scored child.
        difference: of search and control; None if there are too few children.
    """

    kind: str
    tracks: tuple[Track, ...]
    difference: Difference | None


@dataclass(frozen=True)
class Comparison:
    """A search beside its relatives.

    Args:
        own: the search, and the same search with other seeds if they have a scored child.
        controls: those that were run, in the order of `CONTROLS`.
        open: kinds of controls that were not.
        remarks: why searches are left out, and which controls would say nothing.
    """

    own: tuple[Track, ...]
    controls: tuple[ControlTracks, ...]
    open: tuple[str, ...]
    remarks: tuple[str, ...]


def relatives(ledger: Ledger) -> list[str]:
    """Name the same search with other seeds (`NAME-s2`) and its controls (`NAME-control`, `NAME-s2-largest`)."""
    suffixes = "|".join(control.suffix for control in CONTROLS.values())
    names = re.compile(rf"{re.escape(ledger.name)}(-s\d+)?(-({suffixes}))?")
    return [name for name in list_searches(ledger.bucket, names) if name != ledger.name]


def compare(ledger: Ledger, summaries: Sequence[Summary], named: Sequence[Ledger] = ()) -> Comparison:
    """Put a search beside its relatives, as far as they can be compared with it.

    A relative that nobody named may be of an older spec, or of another version of rlnas: no reason to fail.

    Args:
        ledger: of the search.
        summaries: of its complete rounds.
        named: others to compare it with. Those of a control's kind are controls, the rest are other seeds.

    Raises:
        UserError: a named search differs from this one in more than seed and controller.
    """
    own = [track_of(ledger.name, summaries)]
    found: dict[str, list[Track]] = defaultdict(list)
    remarks: list[str] = []
    given, seen = {other.name: other for other in named}, {_randomness(ledger)}
    for name in dict.fromkeys([*given, *relatives(ledger)]):
        try:
            other = given.get(name) or open_search(ledger.bucket, name)
            _check_comparable(ledger, other)
            track = track_of(name, other.summaries())
        except (UserError, StoreError, SearchDeleted) as error:
            if name in given:
                raise
            remarks.append(f"Search {name} is left out: {one_line(error, 400)}.")
            continue
        if not track.ok.any():
            remarks.append(f"Search {name} has no scored child yet.")
        elif _randomness(other) in seen:
            remarks.append(f"Search {name} is left out: its seed {other.spec.seed} counts already.")
        else:
            seen.add(_randomness(other))
            kind = other.spec.controller.kind
            (own if kind == ledger.spec.controller.kind else found[kind]).append(track)
    rewards = [track.rewards for track in own]
    controls = tuple(
        ControlTracks(kind, tuple(found[kind]), difference(rewards, [track.rewards for track in found[kind]]))
        for kind in CONTROLS
        if kind in found
    )
    remarks += [
        f"Of the {len(track.rewards):,} children of control {track.name}, {track.above:,} were above the limit and not"
        " trained; they count as its children."
        for control in controls
        for track in control.tracks
        if track.above
    ]
    useless = {kind: why for kind in CONTROLS if (why := means_nothing(ledger.spec, kind))}
    remarks += [f"As a control, {why}." for why in useless.values()]
    return Comparison(
        own=tuple(own),
        controls=controls,
        open=tuple(kind for kind in CONTROLS if kind not in found and kind not in useless),
        remarks=tuple(remarks),
    )


def track_of(name: str, summaries: Sequence[Summary]) -> Track:
    """Return the track of a search."""
    results = [child.result for summary in summaries for child in summary.children]
    rewards = np.array([np.nan if r.reward is None else r.reward for r in results], dtype=float)
    ok = np.array([r.status == "ok" for r in results], dtype=bool)
    stopped = np.array([r.stopped is not None for r in results], dtype=bool)
    return Track(name, rewards, ok, stopped, above=sum(r.reason == "over_limit" for r in results))


def _randomness(ledger: Ledger) -> tuple[str, int]:
    """What must differ between searches for one to say something that the other does not."""
    return ledger.spec.controller.kind, ledger.spec.seed


def _check_comparable(ledger: Ledger, other: Ledger) -> None:
    like = {"name": ledger.spec.name, "seed": ledger.spec.seed, "finalize": ledger.spec.finalize}
    if (kind := other.spec.controller.kind) in CONTROLS:
        if kind != ledger.spec.controller.kind and (why := means_nothing(ledger.spec, kind)):
            raise UserError(f"search {other.name} cannot be compared with {ledger.name}: {why}")
        like |= {"controller": ledger.spec.controller, "warm_start": ledger.spec.warm_start}
    spec = other.spec_beside(ledger)
    if spec is None:
        raise UserError(f"search {other.name} cannot be compared with {ledger.name}: its data is other data")
    if fields := spec.model_copy(update=like).differences(ledger.spec):
        raise UserError(
            f"search {other.name} cannot be compared with {ledger.name} ({'; '.join(fields)}); allowed: the same spec"
            f" with another seed, or with the controller {' or '.join(f'`{known}`' for known in CONTROLS)}"
        )
