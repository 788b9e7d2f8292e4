"""Every token sequence of a small space, so that probabilities can be summed instead of estimated."""

from collections.abc import Sequence
from itertools import product

from rlnas.spaces import Decision, Tokens


def sequences(decisions: Sequence[Decision]) -> list[Tokens]:
    """Return all of them, made without `walk`."""
    made: list[tuple[Tokens, dict[int, int]]] = [((), {})]
    for position, decision in enumerate(decisions):
        longer = []
        for tokens, chosen in made:
            if decision.anchor:
                longer += [(tokens + bits, chosen) for bits in product((0, 1), repeat=decision.choices)]
            elif decision.when is None or chosen.get(decision.when[0]) in decision.when[1]:
                longer += [((*tokens, option), chosen | {position: option}) for option in range(decision.choices)]
            else:
                longer.append((tokens, chosen))
        made = longer
    return [tokens for tokens, _ in made]
