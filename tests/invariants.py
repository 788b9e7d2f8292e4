"""What must hold of a search whatever was done to it, seen from outside: on the objects of its store alone.

Objects are a mapping from key, without the root of the search's incarnation, to bytes. Every public function returns
one line for each violation; none: all is well. Nothing here asks the product what is right, except for what a
safetensors file says of itself.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from rlnas.seeds import derive_seed
from rlnas.spec import SearchSpec
from rlnas.tensors import read_document

Objects = Mapping[str, bytes]
Document = dict[str, Any]

FACTS = ("controllers/", "plans/", "results/", "summaries/", "history/", "finals/", "suggestions/", "data.json")
"""Created once, and never changed or deleted."""
LEADERBOARD_SIZE, KEPT_SNAPSHOTS, HISTORY_ROUNDS = 20, 5, 100


def violations(objects: Objects, spec: SearchSpec, history_rounds: int = HISTORY_ROUNDS) -> list[str]:
    """What must hold at any moment.

    Args:
        objects: of one moment.
        spec: of the search.
        history_rounds: summaries in a bundle.
    """
    return _found(_AT_ANY_TIME, objects, spec, history_rounds)


def violations_at_end(objects: Objects, spec: SearchSpec, history_rounds: int = HISTORY_ROUNDS) -> list[str]:
    """What must hold once the search has come to its end, nobody works on it, and `finish` was the last to do so."""
    return _found(_AT_ANY_TIME + _AT_END, objects, spec, history_rounds)


def violations_between(earlier: Objects, later: Objects) -> list[str]:
    """What must hold between two moments: facts stay as they are, and checkpoints of unfinished children go on.

    Args:
        earlier: of one moment.
        later: of a later one, or read with the checkpoints first.
    """
    found = []
    for key, data in earlier.items():
        if key.startswith(FACTS) and later.get(key) != data:
            found.append(f"{key} was {'changed' if key in later else 'deleted'}")
    for key in sorted(key for key in earlier if key.startswith("checkpoints/")):
        name = _name(key)
        ended = f"results/{name}.json" in later or f"snapshots/{name}.safetensors" in later
        if ended or any(key.startswith("finals/") for key in later):
            continue  # nobody needs it: a late process may leave an old one behind, until `finish`
        if key not in later:
            found.append(f"{key} was deleted before its child ended")
        elif _position(later[key]) < _position(earlier[key]):
            found.append(f"{key} went back from {_position(earlier[key])} to {_position(later[key])}")
    return found


def violations_of_promises(objects: Objects, created: Iterable[tuple[str, str]]) -> list[str]:
    """What processes were told.

    Args:
        objects: at any later moment.
        created: key and sha256 of each fact whose creation a process was told of.
    """
    return [
        f"{key}: somebody was told that it was created, and it {'is another' if key in objects else 'is gone'}"
        for key, sha256 in created
        if key.startswith(FACTS) and (key not in objects or hashlib.sha256(objects[key]).hexdigest() != sha256)
    ]


def violations_of_the_seal(objects: Objects, excused: int) -> list[str]:
    """Test data is read once for each tested winner.

    Args:
        objects: at any moment.
        excused: further readings, each by a process that was stopped between the reading and its record.
    """
    readings = sum(key.startswith("test-readings/") for key in objects)
    records = [_read(data) for key, data in objects.items() if key.startswith("finals/")]
    tested = sum(any(model["test"] for model in record["models"]) for record in records)
    found = [f"test data was read {readings} times; allowed: {max(1, tested) + excused}"]
    return found if readings > max(1, tested) + excused else _unless(readings >= tested, "a test without a reading")


def outcome(objects: Objects) -> dict[str, Any]:
    """All that a search at window 1 must come to, however it was interrupted: seconds and attempts left out."""
    found: dict[str, Any] = {}
    for key, data in objects.items():
        folder = key.partition("/")[0]
        if folder == "controllers":
            found[key] = hashlib.sha256(data).hexdigest()
        elif folder in ("plans", "results", "summaries", "history", "finals"):
            found[key] = _plain(json.loads(data))
        elif folder in ("snapshots", "checkpoints"):
            found[key] = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
    return found


def violations_against(objects: Objects, undisturbed: Mapping[str, Any]) -> list[str]:
    """At window 1: differences from the `outcome` of an undisturbed search of the same spec."""
    mine = outcome(objects)
    keys = sorted(mine.keys() | undisturbed.keys())
    return [f"{key} differs from an undisturbed search's" for key in keys if mine.get(key) != undisturbed.get(key)]


# ---- what is in the store ----


class _Search:
    """The objects, read."""

    def __init__(self, objects: Objects, spec: SearchSpec, history_rounds: int) -> None:
        self.objects, self.spec, self.loop, self.history_rounds = objects, spec, spec.loop, history_rounds
        self.versions = _versions(objects)
        documents = {
            key: _read(data)
            for key, data in objects.items()
            if key.startswith(("plans/", "results/", "summaries/", "history/", "finals/", "leases/"))
        }
        of = {folder: {_name(k): d for k, d in documents.items() if k.startswith(folder)} for folder in _FOLDERS}
        self.plans = {int(name): plan for name, plan in of["plans/"].items() if not plan["winner"]}
        self.final_plans = {int(name): plan for name, plan in of["plans/"].items() if plan["winner"]}
        self.summaries = {int(name): summary for name, summary in of["summaries/"].items()}
        self.bundles = {int(name): bundle for name, bundle in of["history/"].items()}
        self.results, self.leases, self.finals = of["results/"], of["leases/"], of["finals/"]

    @property
    def head(self) -> Document:
        """What the newest version says."""
        return self.versions[max(self.versions)]

    @cached_property
    def applied(self) -> Counter[int]:
        """How many versions applied each round."""
        return Counter(number for version in self.versions.values() for number in version["applied"])

    def children(self, plans: Mapping[int, Document]) -> dict[str, Document]:
        """The children of plans by name."""
        return {f"{r:06d}-{i:03d}": child for r, plan in plans.items() for i, child in enumerate(plan["children"])}


_FOLDERS = ("plans/", "results/", "summaries/", "history/", "finals/", "leases/")
Check = Callable[[_Search], Iterator[str]]


def _found(checks: Iterable[Check], *of_search: Any) -> list[str]:
    try:
        search = _Search(*of_search)
        return [line for check in checks for line in check(search)]
    except (KeyError, ValueError, TypeError) as error:
        return [f"an object is damaged: {type(error).__name__}: {error}"]


# ---- at any moment ----


def _chain(search: _Search) -> Iterator[str]:
    """No gap and no fork: each version holds the hash of the one before it."""
    numbers = sorted(search.versions)
    if numbers != list(range(len(numbers))):
        yield f"the chain of controllers has a gap: {numbers}"
    for number in numbers:
        version = search.versions[number]
        if version["version"] != number:
            yield f"controller {number} says that it is {version['version']}"
        parent = search.objects.get(f"controllers/{number - 1:06d}.safetensors")
        expected = hashlib.sha256(parent).hexdigest() if parent is not None else ""
        if version["parent_sha256"] != expected:
            yield f"controller {number} was made from another parent than controller {number - 1}"
    yield from _unless(_hint(search.objects) in (0, *numbers), "head.json promises a version that is not there")


def _applied_once(search: _Search) -> Iterator[str]:
    """Each round enters one version, complete, and the version's counts are those of what it applied."""
    for number, times in search.applied.items():
        if times > 1:
            yield f"round {number} was applied {times} times"
        if number not in search.summaries:
            yield f"round {number} was applied without a summary"
    done: set[int] = set()
    count = dict.fromkeys(("children", "failed", "suggested"), 0)
    for number, version in sorted(search.versions.items()):
        before = _low_mark(done)
        window = {*range(before, min(search.loop.rounds, before + search.loop.window))} - done
        applied = version["applied"]
        due = min(search.loop.rounds_per_update, len(window)) if number else 0
        if len(applied) != due or not window.issuperset(applied):
            yield f"controller {number} applied {applied}; allowed: {due} of {sorted(window)}"
        done |= {*applied}
        low_mark = _low_mark(done)
        extras = sorted(r for r in done if r > low_mark)
        if (version["low_mark"], version["extras"]) != (low_mark, extras):
            yield f"controller {number} says that {version['low_mark']} and {version['extras']} are applied"
        children = [c for r in applied if r in search.summaries for c in search.summaries[r]["children"]]
        count["children"] += len(children)
        count["failed"] += sum(child["result"]["status"] != "ok" for child in children)
        count["suggested"] += sum(child["suggested"] for child in children)
        if (counted := {name: version[name] for name in count}) != count:
            yield f"controller {number} counts {counted}, not {count}"


def _leaders(search: _Search) -> Iterator[str]:
    """The leaderboard is that of the children applied."""
    known: list[tuple[bool, float, str]] = []
    for number, version in sorted(search.versions.items()):
        for r in version["applied"]:
            for i, child in enumerate(search.summaries.get(r, {"children": ()})["children"]):
                result = child["result"]
                if result["status"] == "ok" and result["reward"] is not None:
                    stopped = result.get("stopped") is not None
                    known.append((stopped, -result["reward"], f"{r:06d}-{i:03d}"))
        known = sorted(known)[:LEADERBOARD_SIZE]
        if [(-leader["reward"], leader["child"]) for leader in version["leaders"]] != [k[1:] for k in known]:
            yield f"controller {number}: its leaders are not the best children applied"


def _planned(search: _Search) -> Iterator[str]:
    """No more rounds than the budget, each of as many children as the spec says, within the window of its version."""
    loop = search.loop
    for number, plan in search.plans.items():
        if plan["round"] != number or number >= loop.rounds or len(plan["children"]) != loop.children_per_round:
            yield f"plan {number} has {len(plan['children'])} children of round {plan['round']}"
        seeds = [derive_seed(search.spec.seed, "child", number, i) for i in range(len(plan["children"]))]
        if [child["seed"] for child in plan["children"]] != seeds:
            yield f"plan {number} has other seeds than the spec gives"
        policy = search.versions.get(plan["policy_version"])
        if policy is None:
            yield f"plan {number} is of version {plan['policy_version']}, which is not there"
        elif not policy["low_mark"] <= number < policy["low_mark"] + loop.window:
            yield f"plan {number} is beyond the window of version {plan['policy_version']}"


def _suggestions(search: _Search) -> Iterator[str]:
    """Each suggestion enters one plan, in its order."""
    queue = [_read(search.objects[key]) for key in sorted(k for k in search.objects if k.startswith("suggestions/"))]
    taken = 0
    for number, plan in sorted(search.plans.items()):
        mine = [child["tokens"] for child in plan["children"] if child["suggested"]]
        if mine != [suggestion["tokens"] for suggestion in queue[taken : taken + len(mine)]]:
            yield f"plan {number} takes up other suggestions than those that are next"
        taken += len(mine)
        if plan["suggestions"] != taken:
            yield f"plan {number} says that {plan['suggestions']} suggestions are taken up, not {taken}"


def _summed_up(search: _Search) -> Iterator[str]:
    """Each summary is its plan with its results, and each bundle its summaries; results are of planned children."""
    plans = search.plans | search.final_plans
    for number, summary in search.summaries.items():
        plan = plans.get(number)
        if plan is None:
            yield f"summary {number} has no plan"
            continue
        names = [f"{number:06d}-{i:03d}" for i in range(len(plan["children"]))]
        told = [c | {"result": search.results.get(n)} for n, c in zip(names, plan["children"], strict=True)]
        same = all(summary[field] == plan[field] for field in ("round", "policy_version", "samples"))
        if not same or summary["children"] != told:
            yield f"summary {number} is not its plan with its results"
    for number, bundle in search.bundles.items():
        rounds = range(number * search.history_rounds, (number + 1) * search.history_rounds)
        if bundle["summaries"] != [search.summaries.get(r) for r in rounds]:
            yield f"bundle {number} is not its summaries"
    for name in sorted(search.results.keys() - search.children(plans).keys()):
        yield f"result {name} is of a child that was not planned"


def _lost(search: _Search) -> Iterator[str]:
    """A child is given up only after as many attempts in vain as the spec says."""
    for name, result in search.results.items():
        if result["status"] == "lost":
            fruitless = search.leases.get(name, {"fruitless": 0})["fruitless"]
            if fruitless < (attempts := search.spec.failures.attempts):
                yield f"child {name} was given up after {fruitless} attempts; allowed: {attempts} or more"


def _stopped(search: _Search) -> Iterator[str]:
    """A child is stopped at the first rung whose bar it does not reach, and at no other."""
    planned = search.children(search.plans)
    for name, result in search.results.items():
        if result["status"] != "ok" or name not in planned:
            continue
        bars = search.plans[int(name.partition("-")[0])]["bars"]
        below = [int(e) for e, score in result["rungs"].items() if bars[e] is not None and score < bars[e]]
        if result["stopped"] != min(below, default=None) or (below and len(below) > 1):
            yield f"child {name} was stopped after {result['stopped']}, and was below the bars after {below}"


def _finalized(search: _Search) -> Iterator[str]:
    """Winners are tested once each, after their last training is planned."""
    winners = [record["winner"] for record in search.finals.values()]
    yield from _unless(len(winners) == len({*winners}), f"a winner was tested twice: {winners}")
    for number, plan in search.final_plans.items():
        if number < search.loop.rounds or plan["winner"] not in search.results:
            yield f"plan {number} is of winner {plan['winner']}"


_AT_ANY_TIME: tuple[Check, ...] = (
    _chain,
    _applied_once,
    _leaders,
    _planned,
    _suggestions,
    _summed_up,
    _lost,
    _stopped,
    _finalized,
)


# ---- at the end ----


def _exact(search: _Search) -> Iterator[str]:
    """The budget was spent, neither more nor less."""
    rounds, children = search.loop.rounds, search.loop.rounds * search.loop.children_per_round
    if search.head["low_mark"] != rounds or search.head["children"] != children:
        yield f"{search.head['low_mark']} rounds with {search.head['children']} children were applied, not {rounds}"
    names = search.children(search.plans)
    of_search = {name for name in search.results if int(name.partition("-")[0]) not in search.final_plans}
    if len(names) != children or of_search != names.keys():
        yield f"{len(names)} children were planned, and {len(of_search)} ended; allowed: {children}"


def _nothing_orphaned(search: _Search) -> Iterator[str]:
    """Only the best children's snapshots, and the tested models', are left."""
    for key in search.objects:
        if key.startswith("checkpoints/"):
            yield f"{key} is left"
    there = {_name(key) for key in search.objects if key.startswith("snapshots/")}
    models = [model for record in search.finals.values() for model in record["models"]]
    leaders = {leader["child"] for leader in search.head["leaders"][:KEPT_SNAPSHOTS]}
    kept = leaders | {model["child"] for model in models if model["test"]}
    for name in sorted(there - kept - {model["child"] for model in models}):
        yield f"snapshots/{name} is left"
    for name in sorted(kept - there):
        yield f"snapshots/{name} is gone"
    bundles = set(range(search.head["low_mark"] // search.history_rounds))
    yield from _unless({*search.bundles} == bundles, f"bundles {sorted(search.bundles)}, not {sorted(bundles)}")


def _tested(search: _Search) -> Iterator[str]:
    """The winner was tested, if the spec says so, and it is the best child."""
    if search.spec.final and search.head["leaders"]:
        best = search.head["leaders"][0]["child"]
        winners = [record["winner"] for record in search.finals.values()]
        yield from _unless(best in winners, f"tested were {winners}, and the best child is {best}")


_AT_END: tuple[Check, ...] = (_exact, _nothing_orphaned, _tested)


# ---- reading ----


def _versions(objects: Objects) -> dict[int, Document]:
    keys = [key for key in objects if key.startswith("controllers/")]
    return {int(_name(key)): read_document(objects[key]) for key in sorted(keys)}


def _name(key: str) -> str:
    return key.rpartition("/")[2].partition(".")[0]


def _read(data: bytes) -> Document:
    return dict(json.loads(data))


def _hint(objects: Objects) -> int:
    return int(objects.get("head.json", b"0"))


def _position(checkpoint: bytes) -> tuple[int, int]:
    document = read_document(checkpoint)
    return document["epoch"], document["step"]


def _low_mark(done: set[int]) -> int:
    return next(number for number in range(len(done) + 1) if number not in done)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items() if key not in ("seconds", "attempts")}
    return [_plain(entry) for entry in value] if isinstance(value, list) else value


def _unless(condition: bool, line: str) -> list[str]:
    return [] if condition else [line]
