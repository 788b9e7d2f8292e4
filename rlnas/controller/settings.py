"""The `controller` section of a spec. The paper's values (Section 4.1) are the defaults."""

from typing import Literal

from pydantic import Field

from rlnas.section import Section


class ControllerSettings(Section):
    """What every searcher's settings share."""

    kind: str


class ReinforceSettings(ControllerSettings):
    """The paper's controller.

    Args:
        hidden: units of each LSTM layer.
        layers: LSTM layers.
        init: weights start uniformly distributed between minus this and this.
        learning_rate: of the Adam optimiser. The paper's value is meant for 12,800 children; use more for fewer.
        baseline_decay: decay of the moving average of earlier rewards, for each reward. The paper gives no value.
        entropy_weight: this times the policy's entropy is added to the objective; the paper adds none.
        temperature: every logit is divided by this, in sampling and in scoring; the paper has 1.
    """

    kind: Literal["reinforce"] = "reinforce"
    hidden: int = Field(default=35, ge=1, le=4096)
    layers: int = Field(default=2, ge=1, le=8)
    init: float = Field(default=0.08, gt=0, le=1)
    learning_rate: float = Field(default=6e-4, gt=0, le=1)
    baseline_decay: float = Field(default=0.95, ge=0, lt=1)
    entropy_weight: float = Field(default=0.0, ge=0)
    temperature: float = Field(default=1.0, gt=0)


class RandomSettings(ControllerSettings):
    """The control: every option equally likely, every anchor point's Bernoulli at one half."""

    kind: Literal["random"] = "random"
