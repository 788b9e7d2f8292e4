"""Update the controller: apply complete rounds to the newest version, each exactly once."""

from rlnas.controller import Experience, SearcherState, Trial
from rlnas.errors import StoreError
from rlnas.state import Ledger, Summary, Version, renew


def update_controller(ledger: Ledger, own: int | None = None) -> Version:
    """Apply the rounds that are due, until none is.

    An update is due when the spec's number of rounds is complete, or when every round of the window is, so that
    nothing else can arrive.

    Args:
        ledger: of the search.
        own: a round that the caller has been at. Where each round is an update of its own, others are left to those who
            completed them: several that apply the same ones at once only stand in one another's way.

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
        state, numbers = ledger.searcher.learn(head.state, rounds)
        staleness = max(version.version - summary.policy_version for summary in due)
        committed = ledger.commit(head, due, state, numbers | {"staleness": float(staleness)})
        if committed and not more:
            return committed.version  # whoever completes a round from now on applies it
        head = committed or ledger.head()


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
