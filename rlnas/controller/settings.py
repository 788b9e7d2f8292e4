"""The `controller` section of a spec. The paper's values (Section 4.1) are the defaults."""

from typing import ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from rlnas.section import EARLIER, Section


class ControllerSettings(Section):
    """What every searcher's settings share."""

    label: ClassVar[str] = ""
    """What the searcher is, in a line for people. Here, since what shows it does without torch."""

    begun_label: ClassVar[str] = ""
    """What it is if it starts from the controller of an earlier search; empty: the same."""

    chooses_by: ClassVar[str] = ""
    """The size by which it tells architectures apart; where a space says no such size, it samples at random."""

    takes_up: ClassVar[tuple[str, ...]] = ()
    """What a searcher of this kind can begin with of an earlier search: its `controller`, its `children`."""

    kind: str

    @property
    def asks_for_trials(self) -> bool:
        """Whether the searcher needs a child trainer that makes short trials."""
        return False

    def doubt(self, children: int, begun: bool) -> str:
        """Say what is probably not meant; empty: nothing.

        Args:
            children: of the search.
            begun: whether it begins with an earlier search.
        """
        return ""


class PolicySettings(ControllerSettings):
    """Of the LSTM that makes one decision after another.

    Args:
        hidden: units of each LSTM layer.
        layers: LSTM layers.
        init: weights start uniformly distributed between minus this and this.
        temperature: every logit is divided by this, in sampling and in scoring; the paper has 1.
    """

    takes_up: ClassVar[tuple[str, ...]] = ("controller",)

    hidden: int = Field(default=35, ge=1, le=4096)
    layers: int = Field(default=2, ge=1, le=8)
    init: float = Field(default=0.08, gt=0, le=1)
    temperature: float = Field(default=1.0, gt=0)

    @field_validator("temperature")
    @classmethod
    def _leaves_a_choice(cls, temperature: float, info: ValidationInfo) -> float:
        if info.context is not EARLIER and not 0.01 <= temperature <= 100:
            raise ValueError(f"{temperature:g} leaves the controller no choice, or no say; allowed: 0.01 to 100")
        return temperature


class ReinforceSettings(PolicySettings):
    """The paper's controller; beside what `PolicySettings` has:

    Args:
        learning_rate: of the Adam optimiser. The paper's value is meant for 12,800 children; use more for fewer.
        baseline_decay: decay of the moving average of earlier rewards, for each reward. The paper gives no value.
        entropy_weight: this times the policy's entropy is added to the objective; the paper adds none.
    """

    label = "the paper's controller: an LSTM that learns by REINFORCE"
    begun_label = (
        "an LSTM that learns by REINFORCE; it starts from an earlier controller, so this is not the paper's search"
    )

    kind: Literal["reinforce"] = "reinforce"
    learning_rate: float = Field(default=6e-4, gt=0, le=1)
    baseline_decay: float = Field(default=0.95, ge=0, lt=1)
    entropy_weight: float = Field(default=0.0, ge=0)


class RandomSettings(ControllerSettings):
    """The control: every option equally likely, every anchor point's Bernoulli at one half."""

    label = "random sampling: a control that learns nothing"

    kind: Literal["random"] = "random"


class LargestSettings(ControllerSettings):
    """The second control: the largest of some random architectures.

    Args:
        draws: random architectures from which the one with most parameters within the limit is proposed.
    """

    label = "the largest of some random architectures: a control that learns nothing"
    chooses_by = "parameters"

    kind: Literal["largest"] = "largest"
    draws: int = Field(default=100, ge=1, le=100_000)


class EvolutionSettings(ControllerSettings):
    """Regularised evolution (Real et al. 2019).

    Args:
        population: the newest so many children can be parents; before there are so many, proposals are random.
        tournament: so many of them, drawn at random, compete; the best becomes the parent.
        local_search: the parent is instead the best of all children one of whose neighbours is not yet known.
    """

    label = "regularised evolution: mutations of good children, no controller that learns"

    kind: Literal["evolution"] = "evolution"
    population: int = Field(default=10, ge=1, le=100_000)
    tournament: int = Field(default=3, ge=1, le=100_000)
    local_search: bool = False


class GuidedSettings(PolicySettings):
    """The controller proposes, a surrogate chooses; beside what `PolicySettings` has:

    Args:
        learning_rate: of Adam; 0: the controller stays as it starts.
        first: children that are drawn at random before the surrogate chooses; none with a `warm_start`.
        samples: of the controller, from which one proposal is chosen.
        even: random architectures, added to the samples.
        mutations: of the best children, added to the samples.
        parents: the best so many children that are mutated, and that the controller learns to imitate.
        steps: so often all that is one decision away from the most promising is added to the samples.
        scores: the surrogate also sees what an untrained child shows, where the child trainer knows such scores.
        trials: so many of the most promising are trained for a small part of a training, and the surrogate chooses
            among them by what that says, too; 0: none. Their cost comes on top of `loop.children`.
    """

    label = (
        "not the paper's REINFORCE: a surrogate chooses among the controller's samples; choosing biases REINFORCE, so"
        " the controller imitates the best children instead"
    )
    takes_up: ClassVar[tuple[str, ...]] = ("controller", "children")

    kind: Literal["guided"] = "guided"
    learning_rate: float = Field(default=0.003, ge=0, le=1, json_schema_extra={"earlier": 0.01})
    first: int = Field(default=10, ge=1, le=100_000)
    samples: int = Field(default=128, ge=0, le=100_000, json_schema_extra={"earlier": 256})
    even: int = Field(default=128, ge=0, le=100_000, json_schema_extra={"earlier": 0})
    mutations: int = Field(default=0, ge=0, le=100_000)
    parents: int = Field(default=10, ge=1, le=1000)
    steps: int = Field(default=1, ge=0, le=1000, json_schema_extra={"earlier": 0})
    scores: bool = Field(default=True, json_schema_extra={"earlier": False})
    trials: int = Field(default=0, ge=0, le=1000)

    def doubt(self, children: int, begun: bool) -> str:
        """See `ControllerSettings.doubt`."""
        if not (self.samples or self.even or self.mutations):
            return "without samples, even and mutations there is nothing to choose from: this is random sampling"
        if self.first >= children and not begun:
            return f"first: {self.first} children are random, and there are {children}: the surrogate chooses none"
        return ""

    @property
    def asks_for_trials(self) -> bool:
        """See `ControllerSettings.asks_for_trials`."""
        return self.trials > 0
