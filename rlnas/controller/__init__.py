"""Controllers: how architectures are proposed, and how the proposer learns from their rewards."""

from rlnas.controller.searchers import Experience, Foresight, Proposal, Searcher, SearcherState, Trial
from rlnas.controller.settings import ControllerSettings

SETTINGS = {
    "reinforce": "rlnas.controller.settings:ReinforceSettings",
    "random": "rlnas.controller.settings:RandomSettings",
    "largest": "rlnas.controller.settings:LargestSettings",
    "evolution": "rlnas.controller.settings:EvolutionSettings",
    "guided": "rlnas.controller.settings:GuidedSettings",
}
SEARCHERS = {
    "reinforce": "rlnas.controller.reinforce:Reinforce",
    "random": "rlnas.controller.searchers:RandomSearcher",
    "largest": "rlnas.controller.largest:Largest",
    "evolution": "rlnas.controller.evolution:Evolution",
    "guided": "rlnas.controller.guided:Guided",
}
"""What proposes: settings import without torch, searchers are imported by the steps that need them."""

__all__ = [
    "SEARCHERS",
    "SETTINGS",
    "ControllerSettings",
    "Experience",
    "Foresight",
    "Proposal",
    "Searcher",
    "SearcherState",
    "Trial",
]
