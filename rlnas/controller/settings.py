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
        hidden, layers: of the LSTM.
        init: weights start uniform in ± this.
        learning_rate: of Adam.
        baseline_decay: of the moving average of earlier rewards, for each reward (the paper gives no value).
        entropy_weight: adds this times the policy's entropy to the objective; 0 is the paper's.
        temperature: divides every logit, when sampling and when scoring alike; 1 is the paper's.
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
