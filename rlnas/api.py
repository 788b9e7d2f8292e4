"""The Python interface: a search as an object. `import rlnas`, then `rlnas.search(spec)` or `rlnas.open(name)`.

    search = rlnas.search("examples/digits.yaml")
    search.run(rounds=1)                      # here, through kfp.local, as `rlnas run` does
    search.children()                         # a pandas frame, one row a child
    search.best()                             # the best child so far
    search.suggest([architecture], by="me")   # the next rounds train it

    for child in search.ask(4):               # or train elsewhere, and tell
        search.tell(child, reward=my_training(child.architecture))

examples/notebook.py shows all of it. Without `store` a search is where the command line keeps it: in the store of
`RLNAS_STORE_*`, or else the embedded one of the folder `.rlnas` here.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlnas import report, state, steps
from rlnas.errors import UserError, one_line
from rlnas.report import Child, SearchStatus
from rlnas.spaces import Architecture, Tokens
from rlnas.spec import SearchSpec, load_spec, parse_spec
from rlnas.state import Bucket, Ledger, Observer, StoreSettings, store_of

if TYPE_CHECKING:
    from pandas import DataFrame

HOME = Path(".rlnas")


@dataclass(frozen=True)
class Asked:
    """A child to train elsewhere.

    Args:
        name: for `Search.tell`.
        architecture: what to train.
        tokens: the same as the controller writes it.
        seed: of the child, for whoever wants its training to be repeatable.
    """

    name: str
    architecture: Architecture
    tokens: Tokens
    seed: int


class Search:
    """A search in a store."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._observer = Observer(ledger)

    def __repr__(self) -> str:
        return f"<search {self.name}>"

    @property
    def name(self) -> str:
        """Its name."""
        return self._ledger.name

    @property
    def spec(self) -> SearchSpec:
        """Its spec."""
        return self._ledger.spec

    def status(self) -> SearchStatus:
        """Return how far it is."""
        self._ledger.refresh()
        return report.read_status(self._ledger)

    def children(self) -> "DataFrame":
        """Return the children of complete rounds, one row each; see `rlnas.report.frame`."""
        return report.frame(self._ledger)

    def best(self) -> Child:
        """Return the best child so far.

        Raises:
            UserError: none is scored yet.
        """
        return report.read_child(self._ledger, None)

    def architecture(self, child: Child | Asked | Sequence[int]) -> Architecture:
        """Return what a child, or its tokens, mean.

        Raises:
            UserError: the tokens are not in the space.
        """
        if isinstance(child, Child | Asked):
            return self.spec.space.decode(child.tokens)
        return self.spec.space.decode(steps.tokens_of(self._ledger, child, "architecture"))

    def suggest(self, architectures: Sequence[Any], by: str = "a person") -> list[Tokens]:
        """Put architectures into the queue; the next rounds take them up. See `rlnas.steps.suggest`.

        Args:
            architectures: each an architecture, its tokens, a child, or a mapping with one of these.
            by: who proposes them.

        Raises:
            UserError: one of them is not in the space; none is put into the queue.
        """
        if not isinstance(architectures, list | tuple) or all(isinstance(a, int) for a in architectures):
            raise UserError(f"suggest: {one_line(repr(architectures), 80)}; allowed: a list of architectures")
        found = steps.suggest(self._ledger, [_document(a) for a in architectures], by)
        for tokens, doubt in found:
            if doubt:
                warnings.warn(f"suggestion {tokens}: {doubt}", stacklevel=2)
        return [tokens for tokens, _ in found]

    def ask(self, count: int = 1) -> list[Asked]:
        """Return up to `count` children to train elsewhere; see `rlnas.steps.ask`."""
        asked = steps.ask(self._ledger, count, self._observer)
        return [Asked(name, self.architecture(c.tokens), c.tokens, c.seed) for name, c in asked.items()]

    def tell(
        self,
        child: Asked | str,
        reward: float | None = None,
        metrics: Mapping[str, float] | None = None,
        failed: str = "",
        seconds: float = 0.0,
    ) -> bool:
        """Tell how a child ended; False if it has a result already. See `rlnas.steps.tell`."""
        name = child if isinstance(child, str) else child.name
        return steps.tell(self._ledger, name, reward, metrics or {}, failed, seconds)

    def run(self, rounds: int = 0) -> SearchStatus:
        """Run it here through kfp.local, as `rlnas run` does: so many rounds, or (0) to its end, winner included.

        Raises:
            UserError: a number of rounds that cannot be, or bad data.
            RunFailed: the run failed; running again continues it.
        """
        if type(rounds) is not int or rounds < 0:
            raise UserError(f"rounds: {rounds!r}; allowed: a whole number from 1 on, or 0 for all")
        from rich.console import Console

        from rlnas.local import run_search

        console = Console(highlight=False, markup=False, emoji=False)
        return run_search(self._ledger.bucket, self.spec, rounds, HOME / "logs", console)


def _document(architecture: Any) -> Any:
    if isinstance(architecture, Architecture):
        return {"architecture": architecture.model_dump(mode="json")}
    return architecture.tokens if isinstance(architecture, Child | Asked) else architecture


def search(spec: SearchSpec | Mapping[str, Any] | str | Path, store: StoreSettings | None = None) -> Search:
    """Create a search from its spec, or open the one that has this spec.

    Args:
        spec: a YAML file, what one holds, or a spec.
        store: where it is kept.

    Raises:
        UserError: bad input, or a search of this name with another spec; nothing was changed.
    """
    if isinstance(spec, str | Path):
        spec = load_spec(spec)
    elif not isinstance(spec, SearchSpec):
        spec = parse_spec(dict(spec) if isinstance(spec, Mapping) else spec)
    return Search(steps.open_search(Bucket(store or store_of(os.environ, HOME, begin=True)), spec.name, spec))


def open(name: str, store: StoreSettings | None = None) -> Search:
    """Open a search that exists.

    Raises:
        UserError: there is none of that name.
    """
    if not isinstance(name, str):
        raise UserError(f"open: {name!r} is no name of a search; allowed: a text")
    bucket = Bucket(store or store_of(os.environ, HOME))
    bucket.ensure()
    return Search(state.open_search(bucket, name))
