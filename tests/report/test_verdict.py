"""What is said of a search beside its controls: no more than the intervals allow, in each case."""

import numpy as np
import pytest

from rlnas.report.compared import Comparison, ControlTracks, Track
from rlnas.report.statistics import Difference, difference
from rlnas.report.verdict import verdict

BETTER, ALIKE, WORSE = (0.01, 0.05), (-0.01, 0.05), (-0.05, -0.01)
SCOPE = " This speaks of these searches; other seeds may differ."
SIZE = " As far as this shows, it has found nothing but size."
OPEN = (
    " Not yet compared with largest: rlnas run SPEC --control largest runs that with an equal budget, as mine-largest,"
    " or continues it."
)


def beside(open_controls: tuple[str, ...] = (), of: str = "children", **controls: object) -> Comparison:
    """A search beside controls, each with the interval of the difference; None: too few children."""
    track = Track("mine", np.array([0.5]), np.array([True]), np.array([False]))
    found = []
    for kind, ends in controls.items():
        known = Difference((ends[0] + ends[1]) / 2, *ends, of, 32) if isinstance(ends, tuple) else None
        found.append(ControlTracks(kind, (track,), known))
    return Comparison((track,), tuple(found), open_controls, ())


def said(kind: str, ends: tuple[float, float]) -> str:
    how = {BETTER: "Better than", ALIKE: "Not distinguishable from", WORSE: "Worse than"}[ends]
    by = ":" if ends == ALIKE else " by"
    values = {
        BETTER: "+0.0300 reward, 95% interval +0.0100 to +0.0500",
        ALIKE: "+0.0200 reward, 95% interval −0.0100 to +0.0500",
        WORSE: "−0.0300 reward, 95% interval −0.0500 to −0.0100",
    }[ends]
    return f"{how} {kind}{by} the mean of the best quarter of 32 children ({values})."


@pytest.mark.parametrize(
    ("random", "largest", "conclusion"),
    [
        (BETTER, BETTER, ""),
        (BETTER, ALIKE, SIZE),
        (BETTER, WORSE, SIZE),
        (ALIKE, BETTER, ""),
        (ALIKE, ALIKE, ""),
        (ALIKE, WORSE, ""),
        (WORSE, BETTER, ""),
        (WORSE, WORSE, ""),
    ],
)
def test_both_controls_are_named_and_only_what_is_known_is_concluded(random, largest, conclusion):
    words = verdict("mine", "guided", beside(random=random, largest=largest))
    assert words == f"{said('random', random)} {said('largest', largest)}{conclusion}{SCOPE}"


@pytest.mark.parametrize("random", [BETTER, ALIKE, WORSE])
def test_a_control_that_is_still_to_be_run_is_named(random):
    assert verdict("mine", "guided", beside(("largest",), random=random)) == said("random", random) + SCOPE + OPEN
    assert verdict("mine", "guided", beside((), random=random)) == said("random", random) + SCOPE


def test_without_controls_nothing_is_claimed():
    assert verdict("mine", "guided", beside(("random", "largest"))) == (
        "Not yet compared with random: rlnas run SPEC --control random runs that with an equal budget, as mine-control,"
        f" or continues it.{OPEN}"
    )


def test_of_too_few_children_nothing_is_claimed():
    few = "fewer than 16 children on a side."
    assert verdict("mine", "guided", beside(random=None, largest=None)) == (
        f"Not distinguishable from random: {few} Not distinguishable from largest: {few}"
    )
    words = verdict("mine", "guided", beside(random=BETTER, largest=None))
    assert words == f"{said('random', BETTER)} Not distinguishable from largest: {few}{SCOPE}"


def test_seeds_speak_of_the_method():
    words = verdict("mine", "guided", beside(of="seeds", random=BETTER, largest=ALIKE))
    assert words == (
        "Better than random by the best child of each of 32 seeds, on average (+0.0300 reward, 95% interval +0.0100 to"
        " +0.0500). Not distinguishable from largest: the best child of each of 32 seeds, on average (+0.0200 reward,"
        f" 95% interval −0.0100 to +0.0500).{SIZE}"
    )


@pytest.mark.parametrize("kind", ["random", "largest"])
def test_a_control_is_no_search(kind):
    assert verdict("mine", kind, beside(("largest",))) == f"This search is itself a control: {kind}."


def test_rewards_that_are_drawn_alike_are_told_from_those_that_are_not():
    """The statistics and the words together, on rewards."""
    draw = np.random.default_rng(3)
    good, alike, bad = (draw.normal(mean, 0.01, 64) for mean in (0.9, 0.9, 0.8))
    none = np.zeros(len(good), dtype=bool)
    tracks = {name: Track(name, r, r > 0, stopped=none) for name, r in (("a", good), ("b", bad), ("c", alike))}
    controls = (
        ControlTracks("random", (tracks["b"],), difference([good], [bad])),
        ControlTracks("largest", (tracks["c"],), difference([good], [alike])),
    )
    words = verdict("mine", "guided", Comparison((tracks["a"],), controls, (), ()))
    assert words.startswith("Better than random by the mean of the best quarter of 64 children (+0.0977 reward, ")
    assert " Not distinguishable from largest: " in words
    assert SIZE in words
