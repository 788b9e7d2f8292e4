"""The steps of a search, as plain functions: idempotent, safe to run again at any time, from anywhere."""

from rlnas.steps.ask_tell import ask, tell
from rlnas.steps.doubts import doubts_of
from rlnas.steps.evaluate import evaluate
from rlnas.steps.export_model import export_model, read_model
from rlnas.steps.extend import extend
from rlnas.steps.finalize import final_test, find_final, plan_grid, plan_retraining, winner_of
from rlnas.steps.finish import finish
from rlnas.steps.open_search import check_spec, open_search
from rlnas.steps.plan_run import plan_rounds, plan_workers
from rlnas.steps.prepare_data import prepare_data
from rlnas.steps.register_model import register_model
from rlnas.steps.retry import retry
from rlnas.steps.sample_architecture import sample_architecture
from rlnas.steps.serve_model import inference_service
from rlnas.steps.suggest import suggest, tokens_of
from rlnas.steps.train_child import train_child
from rlnas.steps.update_controller import update_controller
from rlnas.steps.work import work

__all__ = [
    "ask",
    "check_spec",
    "doubts_of",
    "evaluate",
    "export_model",
    "extend",
    "final_test",
    "find_final",
    "finish",
    "inference_service",
    "open_search",
    "plan_grid",
    "plan_retraining",
    "plan_rounds",
    "plan_workers",
    "prepare_data",
    "read_model",
    "register_model",
    "retry",
    "sample_architecture",
    "suggest",
    "tell",
    "tokens_of",
    "train_child",
    "update_controller",
    "winner_of",
    "work",
]
