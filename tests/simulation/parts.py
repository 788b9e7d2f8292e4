"""What simulated searches are made of: cheap data, children of several epochs, and a searcher whose state tells all."""

import hashlib
import itertools
import json
import os
import signal
import time
from collections.abc import Sequence
from functools import cache, partial
from random import Random
from typing import Any, ClassVar, Literal

from rlnas.children import RECIPES, TRAINERS, Evaluation, Monitor, Trainer
from rlnas.children.base import EpochRecipe
from rlnas.controller import SEARCHERS, SETTINGS, Experience, Proposal, SearcherState, Trial
from rlnas.controller.moves import draw
from rlnas.controller.searchers import Searcher
from rlnas.controller.settings import ControllerSettings
from rlnas.datasets import DATASETS, Table, Train, Validation
from rlnas.datasets.table import TableFile
from rlnas.errors import ChildFailure
from rlnas.seeds import derive_seed
from rlnas.spaces import Architecture, DataShape
from rlnas.spaces.tabular import TabularArchitecture
from rlnas.tensors import pack, read_document

CHOICES = (3, 3, 3)


@cache
def _scores(column: str) -> dict[tuple[int, ...], float]:
    return {
        tokens: derive_seed(column, str(tokens)) % 1000 / 10
        for tokens in itertools.product(*(range(choices) for choices in CHOICES))
    }


class Formula(TableFile):
    """A table that is computed."""

    kind: Literal["formula"] = "formula"  # type: ignore[assignment]
    path: str = "nowhere"

    def shape(self, open_file: Any) -> DataShape:
        return DataShape(modality="table", classes=0)

    def fingerprint(self, open_file: Any) -> dict[str, str]:
        return {"table": "formula"}

    def _scores(self, column: str, open_file: Any) -> dict[tuple[int, ...], float]:
        return _scores(column)


class SteadyRecipe(EpochRecipe):
    """Epochs that take their time."""

    modality: ClassVar[str] = "table"
    architecture: ClassVar[type[Architecture]] = TabularArchitecture

    kind: Literal["steady"] = "steady"
    epochs: int = 4
    seconds: float = 12.0
    """Of an epoch."""
    poison: bool = False
    """Whether some architectures kill the process that trains them."""


class Steady(Trainer):
    """A child that trains for some epochs and may be stopped, killed and resumed after each.

    What it comes to depends on every epoch: a torn or repeated one would be seen.
    """

    architectures: ClassVar[Any] = TabularArchitecture

    def train(
        self,
        architecture: TabularArchitecture,
        data: Train[Table],
        seed: int,
        checkpoint: bytes | None,
        monitor: Monitor,
    ) -> bytes:
        """Return what all epochs have come to, in the document of the snapshots."""
        state: dict[str, Any] = read_document(checkpoint) if checkpoint else {"epoch": 0, "hash": "", "rungs": []}
        done, text, rungs = state["epoch"], state["hash"], [tuple(rung) for rung in state["rungs"]]
        for epoch in range(done, self.recipe.epochs):
            time.sleep(self.recipe.seconds)
            text = hashlib.sha256(f"{text}/{architecture.tokens}/{seed}/{epoch}".encode()).hexdigest()[:16]
            if epoch == 2 and self.recipe.poison and architecture.tokens[0] == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            if epoch == 1 and int(text, 16) % 11 == 0:
                raise ChildFailure("not_finite", "loss is nan")
            weights = pack({}, {"hash": text})
            if epoch + 1 < self.recipe.epochs and (verdict := monitor.rung(epoch + 1, partial(bytes, weights))):
                rungs.append((epoch + 1, verdict.score))
                if not verdict.goes_on:
                    return pack({}, {"hash": text, "seconds": 1.0, "rungs": rungs, "stopped": epoch + 1})
            at = {"epoch": epoch + 1, "step": 0, "hash": text, "rungs": rungs}
            monitor.beat(partial(pack, {}, at))
        return pack({}, {"hash": text, "seconds": 1.0} | ({"rungs": rungs} if rungs else {}))

    def evaluate(self, architecture: TabularArchitecture, snapshots: bytes, data: Validation[Table]) -> Evaluation:
        """Return the table's score and a little of what was trained."""
        score = data.content.scores[architecture.tokens] + int(read_document(snapshots)["hash"], 16) % 100 / 100
        return Evaluation((score,), score, {"score": score})


class TallySettings(ControllerSettings):
    """Settings of `Tally`."""

    kind: Literal["tally"] = "tally"
    label: ClassVar[str] = "tally"


class Tally(Searcher):
    """Its state is a hash of all that it ever learned, in order; what it proposes depends on that."""

    def initial(self, seed: int) -> SearcherState:
        return SearcherState(memory={"hash": str(seed), "told": 0})

    def propose(
        self, state: SearcherState, samples: int, seeds: Sequence[int], history: Sequence[Trial] = ()
    ) -> list[Proposal]:
        decisions = self.space.decisions(samples)
        return [Proposal(*draw(decisions, Random(f"{state.memory['hash']}/{seed}"))) for seed in seeds]

    def learn(self, state: SearcherState, rounds: Sequence[Experience]) -> tuple[SearcherState, dict[str, float]]:
        text, told = state.memory["hash"], state.memory["told"]
        for experience in rounds:
            of_round = [experience.policy.memory["hash"], experience.tokens, experience.rewards, experience.samples]
            of_round.append([(trial.tokens, trial.reward) for trial in experience.suggested])
            text = hashlib.sha256(json.dumps([text, of_round]).encode()).hexdigest()
            told += len(experience.tokens) + len(experience.suggested)
        return SearcherState(memory={"hash": text, "told": told}), {}


class HistorySettings(TallySettings):
    """Settings of `HistoryTally`."""

    kind: Literal["history-tally"] = "history-tally"  # type: ignore[assignment]


class HistoryTally(Tally):
    """What it proposes depends on all that it is shown of the history, too."""

    reads_history: ClassVar[bool] = True

    def propose(
        self, state: SearcherState, samples: int, seeds: Sequence[int], history: Sequence[Trial] = ()
    ) -> list[Proposal]:
        seen = hashlib.sha256(str([(trial.tokens, trial.reward) for trial in history]).encode()).hexdigest()
        decisions = self.space.decisions(samples)
        return [Proposal(*draw(decisions, Random(f"{state.memory['hash']}/{seen}/{seed}"))) for seed in seeds]


def register() -> None:
    """Make the kinds known, as a plugin's entry points would."""
    DATASETS["formula"] = f"{__name__}:Formula"
    RECIPES["steady"] = f"{__name__}:SteadyRecipe"
    TRAINERS["steady"] = f"{__name__}:Steady"
    for kind, searcher, settings in (
        ("tally", "Tally", "TallySettings"),
        ("history-tally", "HistoryTally", "HistorySettings"),
    ):
        SEARCHERS[kind] = f"{__name__}:{searcher}"
        SETTINGS[kind] = f"{__name__}:{settings}"
