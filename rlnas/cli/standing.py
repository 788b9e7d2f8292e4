"""Where a search stands, and the one thing to do next."""

from dataclasses import dataclass

from rlnas.cluster import ENDED
from rlnas.report import SearchStatus


@dataclass(frozen=True)
class Standing:
    """Where a search stands in words, the next command, and what that does."""

    what: str
    command: str
    does: str


def standing(search: str, now: SearchStatus | None, run: str | None, here: bool, there: bool) -> Standing:
    """Say where a search stands, and what to do next.

    Args:
        search: its name.
        now: what its ledger says; None: the store knows nothing of it.
        run: the state of its newest run on Kubeflow; None: there is none, or nobody can tell.
        here: whether a run of this machine is under way.
        there: whether its runs are Kubeflow's, because an endpoint is known.
    """
    if now is not None and now.paused:
        return Standing(f"paused {now.paused}; {now.left}", f"rlnas resume {search}", "lets it go on")
    running = run is not None and run not in ENDED
    if running or here:
        where = "on Kubeflow" if running else "here"
        return Standing(f"a run is under way {where}", f"rlnas status {search}", "again later shows how far it is")
    mark = f"{now.ended}; " if now is not None and now.ended else ""
    ended = mark + {"FAILED": "its newest run failed; ", "CANCELED": "its newest run was stopped; "}.get(run or "", "")
    go_on = f"rlnas {'submit' if there else 'run'} SPEC"
    if now is None or not (now.children or now.running or now.version or now.ended):
        return Standing(f"{ended}no round is begun", go_on, f"begins it {'there' if there else 'here'}")
    if now.left:
        does = f"takes that up {'there' if there else 'here'}; SPEC is its own spec"
        return Standing(f"{ended}{now.left}; what is finished is kept", go_on, does)
    what = "complete" + (f": {ended}nothing of it is missing" if ended else "")
    if now.leaders:
        return Standing(what, f"rlnas leaderboard {search}", "shows its best architectures")
    return Standing(what, f"rlnas report {search}", "tells of all failures")
