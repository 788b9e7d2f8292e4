"""Worker pods in containers of the real image: one is killed amid its batch, another is told to stop."""

from typing import Any

from containers import engine
from containers.engine import Runner, summary
from searches import outcome

from pipelines.workers import workers_pipeline
from rlnas import steps
from rlnas.report import read_status
from rlnas.spec import parse_spec
from rlnas.state import Bucket, Ledger, child_id
from rlnas.state.records import Lease

pytestmark = engine.MARKS


def begin(bucket: Bucket, name: str, epochs: int, rounds: int, lease_seconds: float) -> Ledger:
    """A search of so many rounds of 4, of which a worker trains one child after another."""
    document = {
        "name": name,
        "seed": 5,
        "space": {"kind": "cnn", "layers": 3, "filters": [4, 8]},
        "dataset": {"kind": "digits"},
        "child": {"epochs": epochs, "batch": 64, "snapshots": 1, "upsample_by": None, "children_at_once": 1},
        "loop": {"children": 4 * rounds, "children_per_round": 4},
        "failures": {"lease_seconds": lease_seconds},
        "finalize": None,
    }
    return steps.open_search(bucket, name, parse_spec(document))


def logs_of_workers(runner: Runner) -> list[str]:
    return [task.log for task in runner.tasks if task.component == "work"]


def test_a_worker_that_is_killed_amid_its_batch_is_followed_by_another_and_nothing_finished_is_lost(
    runner: Runner, bucket: Bucket, figures: dict[str, Any]
) -> None:
    calm, rude = (begin(bucket, f"workers-{how}", 30, 2, 5) for how in ("calm", "rude"))
    seconds = runner.run(workers_pipeline, search_name=calm.name, worker_count=1)
    figures["one worker, 8 children"] = summary(seconds, runner.tasks)
    assert read_status(calm).complete
    assert {task.component for task in runner.tasks} >= {"plan_workers", "work"}
    assert not [task for task in runner.tasks if task.status]

    runner.tasks.clear()
    trained: set[str] = set()

    def kill(name: str) -> None:
        trained.update(rude.trained_children(0) | rude.finished_children(0))
        engine.kill_container(name)

    thread = runner.disturb_first("work", "trained in", kill)
    # The local runner gives every attempt of a task another name: the second one is a worker that comes late.
    seconds = runner.run(workers_pipeline, search_name=rude.name, worker_count=2)
    thread.join(1)
    figures["two workers, one killed"] = summary(seconds, runner.tasks)
    assert [task.status for task in runner.tasks if task.status] == [137], "one container was killed"
    assert len(logs_of_workers(runner)) == 3
    assert any("attempt 2" in log for log in logs_of_workers(runner)), "amid the training of a child"
    applied = [made.version.applied for number in (1, 2) if (made := rude.controller(number))]
    assert applied == [(0,), (1,)], "each reward is in exactly one update"
    results = {child: rude.result(child) for child in trained}
    assert results
    assert {result and result.attempts for result in results.values()} == {1}, "what was trained is not trained again"
    assert outcome(rude) == outcome(calm), "to the byte"


def test_a_worker_that_is_told_to_stop_ends_well_and_the_next_one_need_not_wait(
    runner: Runner, bucket: Bucket, figures: dict[str, Any]
) -> None:
    ledger = begin(bucket, "workers-stopped", 60, 1, 3600)  # whoever had to wait for a lease would do so for an hour

    def states() -> set[str]:
        found = [bucket.get(ledger.lease_key(child_id(0, index))) for index in range(4)]
        return {Lease.from_bytes(item.data, "lease").state for item in found if item is not None}

    took: list[float] = []
    thread = runner.disturb_first("work", "attempt 1", lambda name: took.append(engine.delete_with_grace(name)))
    runner.run(workers_pipeline, search_name=ledger.name, worker_count=1)
    thread.join(1)
    figures["a worker told to stop"] = f"{took[0]:.1f} s until it ended"
    assert not [task for task in runner.tasks if task.status], "within its grace, and the run succeeded"
    (log,) = logs_of_workers(runner)
    assert "told to stop: what is not finished is given back" in log
    assert any("1 round is left; the next run goes on" in task.log for task in runner.tasks)
    assert states() == {"released"}
    assert ledger.version().rounds == 0

    runner.tasks.clear()
    runner.run(workers_pipeline, search_name=ledger.name, worker_count=1)
    assert not [task for task in runner.tasks if task.status]
    (log,) = logs_of_workers(runner)
    assert "attempt 2" in log
    assert "idle" not in log
    assert read_status(ledger).complete
