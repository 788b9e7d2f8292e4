"""Children: how an architecture becomes a number."""

from rlnas.children.base import (
    Deployable,
    EpochRecipe,
    Evaluation,
    Interrupted,
    Judge,
    Monitor,
    Recipe,
    SilentMonitor,
    Trainer,
    Verdict,
)

RECIPES = {
    "cnn": "rlnas.children.recipes:CNNRecipe",
    "rnn": "rlnas.children.recipes:RNNRecipe",
    "tabular": "rlnas.children.recipes:TabularRecipe",
}
TRAINERS = {
    "cnn": "rlnas.children.images:ImageTrainer",
    "rnn": "rlnas.children.language:LanguageTrainer",
    "tabular": "rlnas.children.tabular:TabularTrainer",
}
"""Child kinds: recipes import without torch, trainers are imported by the steps that train. Other packages add
theirs by the entry-point groups `rlnas.recipes` and `rlnas.trainers`."""

__all__ = [
    "RECIPES",
    "TRAINERS",
    "Deployable",
    "EpochRecipe",
    "Evaluation",
    "Interrupted",
    "Judge",
    "Monitor",
    "Recipe",
    "SilentMonitor",
    "Trainer",
    "Verdict",
]
