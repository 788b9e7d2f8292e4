"""How many rounds of a search fit into one run of the loop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.size import Size, check_size, size_of
from rlnas.errors import UserError
from rlnas.spec import SearchSpec

PARAMETER = "rounds_per_run"


@dataclass(frozen=True)
class Shape:
    """What of a search decides how large its runs are.

    Args:
        batches: tasks that share a round's children: `children_per_round` / `children_per_batch`, rounded up.
        winner: batches of its grid and of its last training together; None: nothing is finalized.
        replicas: loops side by side.
    """

    batches: int = 1
    winner: int | None = None
    replicas: int = 1

    @classmethod
    def of(cls, spec: SearchSpec) -> "Shape":
        """The shape of a search."""
        loop, final, winner = spec.loop, spec.final, None
        if final is not None:
            models = 1 + len(final.references)
            winner = sum(-(-children // loop.children_per_batch) for children in (models * len(final.points), models))
        return cls(-(-loop.children_per_round // loop.children_per_batch), winner, loop.replicas)

    def size(self, documents: Sequence[Mapping[str, Any]], rounds: int, arguments: Mapping[str, Any] = {}) -> Size:
        """Return how large a run of so many rounds is, with the winner, which the last run of a search has to itself.

        Args:
            documents: of the compiled package.
            rounds: of this run over all replicas, each of which does the same number.
            arguments: run parameters that are sent along.
        """
        turns = -(-rounds // self.replicas)
        batches = turns * self.replicas * self.batches
        if self.winner is not None:
            turns += 2  # its grid and its last training; one empty batch for each of the other replicas
            batches += self.winner + 2 * (self.replicas - 1)
        items = {"open-search": self.replicas, "plan-rounds": turns * self.replicas, "sample-architecture": batches}
        return size_of(documents, items, arguments, conditions=self.winner is not None)


def rounds_that_fit(documents: Sequence[Mapping[str, Any]], shape: Shape, arguments: Mapping[str, Any] = {}) -> int:
    """Return how many rounds a run may have at most, a multiple of the replicas; 0: not even one for each."""
    rounds = 0
    while shape.size(documents, rounds + shape.replicas, arguments).fits:
        rounds += shape.replicas
    return rounds


def rounds_of_run(
    documents: Sequence[Mapping[str, Any]], spec: SearchSpec, arguments: Mapping[str, Any]
) -> tuple[int, Size]:
    """Return the rounds that a run is to have, and how large it then is at most.

    Args:
        documents: of the compiled package.
        spec: of the search.
        arguments: run parameters; where `rounds_per_run` is not among them, as many rounds are chosen as fit.

    Raises:
        UserError: so many do not fit into a run, or not even one does.
    """
    shape, asked = Shape.of(spec), _asked(arguments)
    most = rounds_that_fit(documents, shape, arguments)
    if not most:
        what, allowed = _spread_too_far(documents, spec, arguments)
        check_size(shape.size(documents, shape.replicas, arguments), what, allowed)
    rounds = min(asked or spec.loop.rounds, spec.loop.rounds)
    if asked is None:
        rounds = min(rounds, most)
    size = shape.size(documents, rounds, arguments)
    meaning = " (all that are left)" if asked == 0 else ""
    check_size(size, f"{PARAMETER}: {asked}{meaning}", f"1 to {most}; further runs continue the search")
    return asked if asked is not None else rounds, size


def check_rounds(documents: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]) -> None:
    """Refuse a number of rounds that fits into a run of no search, where nobody knows the search.

    Raises:
        UserError: `rounds_per_run` is above what a search with one batch a round could have.
    """
    asked = _asked(arguments) or 0
    most = rounds_that_fit(documents, Shape(), arguments)
    size = Shape().size(documents, asked, arguments)
    check_size(size, f"{PARAMETER}: {asked}", f"1 to {most}, less with more than one batch a round")


def _asked(arguments: Mapping[str, Any]) -> int | None:
    asked = arguments.get(PARAMETER)
    if asked is not None and asked < 0:
        raise UserError(f"{PARAMETER}: {asked} is negative; allowed: 0 (all that are left) or more")
    return asked


def _spread_too_far(
    documents: Sequence[Mapping[str, Any]], spec: SearchSpec, arguments: Mapping[str, Any]
) -> tuple[str, str]:
    """Say which setting of a search keeps even the smallest run from fitting, and what it may be."""
    final, shape = spec.final, Shape.of(spec)
    models = 1 + len(final.references) if final else 0
    together = max(spec.loop.children_per_round, models * len(final.points) if final else 0)
    for size in range(spec.loop.children_per_batch + 1, together + 1):
        other = spec.model_copy(update={"loop": spec.loop.model_copy(update={"children_per_batch": size})})
        if rounds_that_fit(documents, Shape.of(other), arguments):
            return f"loop.children_per_batch: {spec.loop.children_per_batch}", f"{size} or more"
    fits = (
        n for n in range(shape.replicas - 1, 1, -1) if rounds_that_fit(documents, replace(shape, replicas=n), arguments)
    )
    return f"loop.replicas: {spec.loop.replicas}", f"1 to {next(fits, 1)}"
