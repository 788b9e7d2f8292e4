"""What the pipelines of a search begin and end with."""

from kfp import dsl

import components
from pipelines.placement import Placement, place


def begin(search_name: str, search_spec: dict, data: Placement) -> dsl.PipelineTask:
    """Fetch the data and open the search; return the task that opens it."""
    prepared = components.prepare_data(search_name=search_name, search_spec=search_spec, placement=data.text)
    place(prepared, data)
    opened = components.open_search(search_name=search_name, search_spec=search_spec, placement=data.text)
    return place(opened, data).after(prepared)


def finish(search_name: str, control: Placement, after: dsl.PipelineTask) -> dsl.PipelineTask:
    """Sweep up when a task has ended; return the task that says whether the winner is still to be tested."""
    finished = components.finish(search_name=search_name, placement=control.text)
    return place(finished, control).after(after)


def take_winner(search_name: str, finished: dsl.PipelineTask, data: Placement, training: Placement) -> None:
    """Test and export the winner, if that is what is left."""
    with dsl.If(finished.outputs["Output"] == True):  # noqa: E712 - a condition of the pipeline, not of Python
        tested = components.final_test(search_name=search_name, placement=training.text)
        place(tested, training)
        exported = components.export_model(search_name=search_name, placement=data.text)
        place(exported, data).after(tested)
