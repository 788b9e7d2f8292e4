"""Steps through a space, in its own terms: an even draw, one decision changed, all that is one decision away.

A decision that comes into being by a change is drawn evenly, one that ceases to exist loses its choice, and every other
keeps it. So an architecture from before a space grew can be the parent of one from after.
"""

import math
import random
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress

from rlnas.spaces import Decision, Space, Tokens, walk

TRIES = 1000

Choice = int | tuple[int, ...]


def draw(decisions: Sequence[Decision], generator: random.Random) -> tuple[Tokens, float]:
    """Draw every option of every decision evenly, every link with one half.

    Returns:
        The tokens, and the log-probability of drawing them.
    """
    return complete(decisions, {}, generator)


def complete(
    decisions: Sequence[Decision], choices: Mapping[int, Choice], generator: random.Random
) -> tuple[Tokens, float]:
    """Draw evenly what is not chosen yet.

    Args:
        decisions: of the architecture to make.
        choices: by position; those of decisions that do not exist are passed over.
        generator: draws the others.

    Returns:
        The tokens, and the log-probability of what was drawn.
    """
    tokens: list[int] = []
    chosen: dict[int, int] = {}
    log_probability = 0.0
    for position, decision in enumerate(decisions):
        if decision.when and chosen.get(decision.when[0]) not in decision.when[1]:
            continue
        choice = choices.get(position)
        if decision.anchor:
            if choice is None:
                choice = tuple(generator.randrange(2) for _ in range(decision.choices))
                log_probability -= decision.choices * math.log(2)
            tokens += choice  # type: ignore[arg-type]
        else:
            if choice is None:
                choice = generator.randrange(decision.choices)
                log_probability -= math.log(decision.choices)
            chosen[position] = choice  # type: ignore[assignment]
            tokens.append(choice)  # type: ignore[arg-type]
    return tuple(tokens), log_probability


def carry_over(space: Space, samples: int, tokens: Tokens, generator: random.Random) -> Tokens:
    """Make an architecture of a space from one of another depth: what fits of its choices, the rest drawn evenly."""
    choices: dict[int, Choice] = {}
    with suppress(ValueError):  # it is deeper
        for position, _, choice in walk(space.decisions(sys.maxsize), tokens):
            choices[position] = choice
    return complete(space.decisions(samples), choices, generator)[0]


def mutate(space: Space, samples: int, parent: Tokens, generator: random.Random) -> Tokens:
    """Change one decision of an architecture: another option, or in a set decision one link flipped.

    Args:
        space: of the parent, which may be of another depth.
        samples: architectures proposed before; says which decisions there are.
        parent: what is changed.
        generator: chooses the decision, each that has a choice being equally likely, and its change.

    Returns:
        The tokens; the parent's, as far as they fit, if the space leaves no choice.
    """
    decisions, choices = space.decisions(samples), _choices(space, parent)
    open_to_change = [at for at in choices if at < len(decisions) and _changes(decisions[at])]
    if open_to_change:
        at = generator.choice(open_to_change)
        choices[at] = _changed(decisions[at], choices[at], generator.randrange(_changes(decisions[at])))
    return complete(decisions, choices, generator)[0]


def neighbours(space: Space, samples: int, centre: Tokens, generator: random.Random) -> Iterator[Tokens]:
    """Make every architecture that is one changed decision away, in random order; arguments as for `mutate`."""
    decisions, choices = space.decisions(samples), _choices(space, centre)
    steps = [(at, k) for at in choices if at < len(decisions) for k in range(_changes(decisions[at]))]
    generator.shuffle(steps)
    for at, k in steps:
        yield complete(decisions, choices | {at: _changed(decisions[at], choices[at], k)}, generator)[0]


def first_new(
    step: Callable[[Tokens], Tokens], start: Tokens, known: Collection[Tokens], fits: Callable[[Tokens], bool]
) -> Tokens:
    """Step until an architecture is new and within the limit: on from one that is known, back from one beyond it.

    Args:
        step: makes an architecture from another.
        start: where the first step is taken.
        known: architectures that are not new.
        fits: whether one is within the limit.

    Returns:
        It; or after many steps in vain the last one, since a small space may have no other.
    """
    at = start
    for _ in range(TRIES):
        tokens = step(at)
        if not fits(tokens):
            continue
        if tokens not in known:
            break
        at = tokens
    return tokens


def _choices(space: Space, tokens: Tokens) -> dict[int, Choice]:
    return {position: choice for position, _, choice in walk(space.decisions(sys.maxsize), tokens)}


def _changes(decision: Decision) -> int:
    """In how many ways one decision can be changed in one step."""
    return decision.choices if decision.anchor else decision.choices - 1


def _changed(decision: Decision, choice: Choice, k: int) -> Choice:
    """Return the k-th change of a choice."""
    if isinstance(choice, tuple):
        return (*choice[:k], 1 - choice[k], *choice[k + 1 :])
    return k + (k >= choice)
