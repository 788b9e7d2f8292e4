"""Update the controller: apply complete rounds to the newest version, each exactly once."""

import os
from collections.abc import Sequence

from rlnas.controller import Experience, Searcher, SearcherState, Trial
from rlnas.errors import StoreError, Unforeseen
from rlnas.state import Ledger, Summary, Version, renew
from rlnas.steps.processes import run_in_processes
from rlnas.tensors import pack, read_document, unpack

CONTROLLER = "of the controller"
ATTEMPTS = 3  # of an update in a process of its own that is killed


def update_controller(ledger: Ledger, own: int | None = None, apart: bool = False) -> Version:
    """Apply the rounds that are due, until none is.

    An update is due when the spec's number of rounds is complete, or when every round of the window is, so that
    nothing else can arrive.

    Args:
        ledger: of the search.
        own: a round that the caller has been at. Where each round is an update of its own, others are left to those who
            completed them: several that apply the same ones at once only stand in one another's way.
        apart: whether to learn in a process of its own, for callers that fork others and have a GPU.

    Returns:
        The newest version, as far as it was seen: this one's last, unless another updater was faster.

    Raises:
        StoreError: the store failed, or lacks what it must have.
    """
    head = ledger.seen or ledger.head()
    known: list[Summary] | None = None
    policies: dict[int, SearcherState] = {}
    while True:
        version, budget, loop = head.version, ledger.rounds, ledger.spec.loop
        window = range(version.low_mark, min(budget, version.low_mark + loop.window))
        due, more = _due(ledger, version, window, own)
        if due != known:
            # All else is read first, and the newest version last: who learns from an old one learns in vain.
            if due:
                renew(ledger)  # after the rounds were read, and before one counts: see `rlnas.state.marks`
            for number in {summary.policy_version for summary in due}.difference(policies):
                policies[number] = _policy(ledger, number)
            head, known = ledger.head(), due
            continue
        if not due:
            return version
        finished = loop.learn_from == "finished"
        rounds = [_experience(summary, policies[summary.policy_version], finished) for summary in due]
        searcher = ledger.searcher
        state, numbers = _learn_apart(searcher, head.state, rounds) if apart else searcher.learn(head.state, rounds)
        staleness = max(version.version - summary.policy_version for summary in due)
        committed = ledger.commit(head, due, state, numbers | {"staleness": float(staleness)})
        if committed and not more:
            return committed.version  # whoever completes a round from now on applies it
        head = committed or ledger.head()


def _learn_apart(
    searcher: Searcher, state: SearcherState, rounds: Sequence[Experience]
) -> tuple[SearcherState, dict[str, float]]:
    """Learn in another process: PyTorch's autograd touches every GPU there is, and who has cannot fork any more.

    Told to stop (SIGTERM) meanwhile, it ends the block of `ends_well_if_told_to_stop` in which it was called.
    """

    def learn(_: str) -> bytes:
        import torch

        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # not even for autograd, which would take 0.5 GiB of each for nothing
        torch.set_num_threads(1)  # OpenMP's threads are not there after a fork
        learned, numbers = searcher.learn(state, rounds)
        return pack(learned.tensors, {"memory": dict(learned.memory), "numbers": numbers})

    ended = run_in_processes(learn, [CONTROLLER], at_once=1, attempts=ATTEMPTS, kind="update")
    if ended.died:
        raise Unforeseen(f"update {CONTROLLER}: its process was killed {ATTEMPTS} times; it may need more memory")
    said = ended.said[CONTROLLER]
    document = read_document(said)
    return SearcherState(unpack(said), document["memory"]), document["numbers"]


def _policy(ledger: Ledger, number: int) -> SearcherState:
    """Return the state by which rounds were proposed."""
    sampled_by = ledger.controller(number)
    if sampled_by is None:
        raise StoreError(f"controller {number} is missing: search {ledger.name} is damaged")
    return sampled_by.state


def _experience(summary: Summary, policy: SearcherState, finished: bool) -> Experience:
    """Return what the controller learns from; `finished`: not from children that were stopped."""
    rewards = [None if finished and child.result.stopped else child.result.reward for child in summary.children]
    told = list(zip(summary.children, rewards, strict=True))
    own = [(child, reward) for child, reward in told if not child.suggested]
    return Experience(
        samples=summary.samples,
        tokens=[child.tokens for child, _ in own],
        rewards=[reward for _, reward in own],
        policy=policy,
        suggested=[
            Trial(child.tokens, reward, child.result.status == "ok", child.result.metrics)
            for child, reward in told
            if child.suggested
        ],
    )


def _due(ledger: Ledger, version: Version, window: range, own: int | None) -> tuple[list[Summary], bool]:
    """Return the rounds to apply now, and whether others are complete that may be due after them."""
    if not window:
        return [], False
    loop = ledger.spec.loop
    if loop.window == 1 or (own is not None and loop.rounds_per_update == 1):
        number = version.low_mark if own is None else own
        only = ledger.summary(number) if number in window and number not in version.extras else None
        return [only] if only else [], False
    ready = [r for r in ledger.complete_rounds(version.low_mark) if r in window and r not in version.extras]
    unapplied = len(set(window).difference(version.extras))
    if len(ready) < min(loop.rounds_per_update, unapplied):
        return [], False
    chosen = [ledger.summary(number) for number in ready[: loop.rounds_per_update]]
    return [summary for summary in chosen if summary is not None], len(ready) > loop.rounds_per_update
