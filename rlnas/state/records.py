"""The objects of a search as they lie in the store (see the table in docs/state.md)."""

import json
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from rlnas.controller import Trial
from rlnas.errors import StoreError, UserError, one_line
from rlnas.section import NEWER, UPGRADE, newer
from rlnas.spaces import Space

SCHEMA: Literal[1] = 1
LEADERBOARD_SIZE = 20
KEPT_SNAPSHOTS = 5


class Record(BaseModel):
    """A JSON object of the store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_bytes(self) -> bytes:
        """Serialise; equal records give equal bytes."""
        return self.model_dump_json().encode()

    @classmethod
    def from_bytes(cls, data: bytes, key: str) -> Any:
        """Read an object.

        Raises:
            UserError: a newer version of rlnas wrote it.
            StoreError: it is not what `key` should hold.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise unreadable(error, key, f": not a {cls.__name__.lower()} of this version of rlnas") from None


def unreadable(error: ValueError, key: str, what: str) -> UserError | StoreError:
    """Return the error that says why an object of a search cannot be read.

    Args:
        error: of reading it.
        key: where it lies.
        what: follows on the key, if no newer version wrote it.
    """
    if isinstance(error, ValidationError) and (words := newer(error)):
        return UserError(f"{key}: {words}")
    return StoreError(f"{key}{what}: {one_line(error, 200)}")


class Lineage(Record):
    """What a search began with: so many children of an earlier one as that was then, and perhaps its controller."""

    search: str
    incarnation: str
    spec_sha256: str
    version: int  # of its controller
    children: int
    controller: bool

    def __str__(self) -> str:
        children = f"{self.children:,} children of search {self.search}"
        return f"{children} and its controller, version {self.version}" if self.controller else children


class Pause(Record):
    """Nothing new is begun in the search until a person resumes it."""

    by: str
    at: float  # seconds since 1970, as of all marks

    def __str__(self) -> str:
        return f"by {self.by}, {moment(self.at)}"


STOPPED = "stopped"


class End(Record):
    """No round is planned any more. The mark is made first, then the rounds that are planned by then are counted."""

    why: str  # STOPPED, or the field of the spec that is the budget
    at: float
    by: str = ""  # who stopped it
    rounds: int | None = None  # that the search has in the end; None: not counted yet

    def __str__(self) -> str:
        if self.why == STOPPED:
            return f"stopped{f' by {self.by}' if self.by else ''}, {moment(self.at)}"
        return f"{self.why} was reached, {moment(self.at)}"


class Change(Record):
    """A field of the spec that a person changed while the search was there."""

    field: str
    before: Any
    after: Any
    by: str
    at: float

    def __str__(self) -> str:
        who = f"by {self.by}, " if self.by else ""
        return f"{self.field}: {self.after}, before {self.before}; {who}{moment(self.at)}"


class SearchRecord(Record):
    """`search.json`: what the search is. The spec's text, not its parsed form, so that reading it needs no plugin.

    The one fact of a search that changes: whoever changes it compares and swaps, see `rlnas.state.marks`.
    """

    schema_version: Literal[1] = SCHEMA
    spec: dict[str, Any]
    spec_sha256: str
    shape: dict[str, Any]
    incarnation: str
    warm_start: Lineage | None = None
    deleting: bool = False
    created: float | None = None  # seconds since 1970; None: nobody wrote it down
    finals_from: int | None = None  # the number of the first round beyond all that a search can have; None: its budget
    paused: Pause | None = None
    ended: End | None = None
    changes: tuple[Change, ...] = ()
    revision: int = 0  # counts the changes of this record, so that no content ever comes back

    @classmethod
    def from_bytes(cls, data: bytes, key: str) -> Any:
        """Read it, unless it is of a schema that came later; see `Record.from_bytes`."""
        try:
            return super().from_bytes(data, key)
        except (UserError, StoreError):
            schema = _schema_of(data)
            if schema > SCHEMA:
                words = f"{NEWER} (schema {schema}; this one reads up to {SCHEMA}); {UPGRADE}"
                raise UserError(f"{key}: {words}") from None
            raise


def _schema_of(data: bytes) -> int:
    try:
        schema = json.loads(data)["schema_version"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return 0  # it is no record at all
    return schema if type(schema) is int else 0


class DataRecord(Record):
    """`data.json`: what the data was when the search began."""

    fingerprint: dict[str, str] = Field(default_factory=dict)  # piece -> hash; empty: it cannot change, or is not known
    facts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()  # in the order of the labels

    @property
    def lines(self) -> tuple[str, ...]:
        """What a person should know of the data, as it is printed."""
        return self.facts + tuple(f"warning: {warning}" for warning in self.warnings)


class ShortTrial(Record):
    """A small part of a training, made to choose what to train."""

    tokens: tuple[int, ...]
    loss: FiniteFloat
    seconds: FiniteFloat


class PlannedChild(Record):
    """One proposal. Its number in the round is its place in the plan."""

    tokens: tuple[int, ...]
    log_probability: FiniteFloat | None  # None: no policy drew it
    seed: int
    recipe: dict[str, Any] = Field(default_factory=dict)  # in which it is trained otherwise than the spec says
    reference: str = ""  # a model of the task that takes the place of the tokens' own
    by: str = ""  # who proposed it, where not the searcher as a whole
    suggested: bool = False  # from outside: a faithful searcher does not learn from it
    scores: dict[str, FiniteFloat] = Field(default_factory=dict)  # what it showed untrained, for searchers that ask
    tried: tuple[ShortTrial, ...] = ()  # before it was chosen, others too

    @property
    def losses(self) -> dict[tuple[int, ...], float]:
        """The losses of the short trials."""
        return {trial.tokens: trial.loss for trial in self.tried}


class Plan(Record):
    """`plans/<round>`: the children that one policy version proposed together, or a step in finalizing a winner."""

    round: int
    policy_version: int
    samples: int
    children: tuple[PlannedChild, ...]
    suggestions: int = 0  # taken from the queue so far, these children included
    bars: dict[int, FiniteFloat | None] = Field(default_factory=dict)  # score that lets a child go on after an epoch
    winner: str = ""  # beyond the budget: the search's child that is being finalized
    data: Literal["train", "train_and_validation"] = "train"


class Owner(Record):
    """Who holds a lease: a task, and one process of it. Host and process id let others there see it is dead.

    Where the task's own process began that one, it is the leader: it trains the child anew if the other one dies.
    """

    task: str
    nonce: str
    host: str
    pid: int
    leader: int | None = None


class Lease(Record):
    """`leases/<child>`: who trains a child. Costs are governed by it, truth is not."""

    attempt: int
    owner: Owner
    state: Literal["active", "released", "expired"]
    start: tuple[int, int]  # epoch and step at which this attempt took up the child
    fruitless: int  # attempts in a row that have trained and made no progress, this one included once it trains
    history: tuple[str, ...] = ()  # how earlier attempts ended


class Result(Record):
    """`results/<child>`: how a child ended."""

    status: Literal["ok", "failed", "lost"]
    reward: FiniteFloat | None  # None: counts for nothing
    history: tuple[FiniteFloat, ...] = ()
    metrics: dict[str, FiniteFloat] = Field(default_factory=dict)
    reason: str = ""
    detail: str = ""
    seconds: FiniteFloat = 0.0
    attempts: int = 1
    rungs: dict[int, FiniteFloat] = Field(default_factory=dict)  # what it promised after so many epochs
    stopped: int | None = None  # the epochs after which it was stopped; its reward is of what it could then
    device: str = ""  # that trained it, as far as equal sums depend on it
    precision: str = ""  # of the numbers in which it was trained

    @property
    def trained_on(self) -> str:
        """On what it was trained, and in which numbers; empty: not known."""
        return f"{self.device} in {self.precision}" if self.precision else self.device


class FinishedChild(PlannedChild):
    """A proposal and how it ended."""

    result: Result

    @property
    def seconds(self) -> float:
        """What it took: its training, and the short trials that were made to choose it."""
        return self.result.seconds + sum(trial.seconds for trial in self.tried)


class AppliedChild(Record):
    """A child in the history that a searcher reads."""

    round: int
    tokens: tuple[int, ...]
    reward: FiniteFloat | None
    scored: bool
    metrics: dict[str, FiniteFloat]
    scores: dict[str, FiniteFloat] = Field(default_factory=dict)
    tried: tuple[tuple[tuple[int, ...], FiniteFloat], ...] = ()  # losses; no seconds: versions are equal to the byte
    rungs: dict[int, FiniteFloat] = Field(default_factory=dict)
    stopped: int | None = None

    def as_trial(self, earlier: Space | None = None) -> Trial:
        """Return it as a searcher sees it; `earlier`: the space of the earlier search whose child it is."""
        return Trial(
            tokens=self.tokens,
            reward=self.reward,
            scored=self.scored,
            metrics=self.metrics,
            earlier=earlier,
            scores=self.scores,
            tried=dict(self.tried),
            rungs=self.rungs,
            stopped=self.stopped,
        )


class Summary(Record):
    """`summaries/<round>`: a round that is complete."""

    round: int
    policy_version: int
    samples: int
    children: tuple[FinishedChild, ...]

    @property
    def applied(self) -> tuple[AppliedChild, ...]:
        """Its children as a searcher reads them, once the round is applied."""
        return tuple(
            AppliedChild(
                round=self.round,
                tokens=child.tokens,
                reward=child.result.reward,
                scored=child.result.status == "ok",
                metrics=child.result.metrics,
                scores=child.scores,
                tried=tuple(child.losses.items()),
                rungs=child.result.rungs,
                stopped=child.result.stopped,
            )
            for child in self.children
        )


class History(Record):
    """`history/<k>`: a hundred summaries in one object, so that a report reads few."""

    summaries: tuple[Summary, ...]


class FinalModel(Record):
    """One tested model: how it was trained, and what validation data and test data say of it."""

    child: str  # whose weights were tested
    reference: str = ""
    recipe: dict[str, Any] = Field(default_factory=dict)
    validation: dict[str, FiniteFloat] = Field(default_factory=dict)  # of the grid's best
    test: dict[str, FiniteFloat] = Field(default_factory=dict)  # empty if it failed
    reason: str = ""


class FinalRecord(Record):
    """`finals/<k>`: the one test of a winner and its reference models."""

    winner: str
    models: tuple[FinalModel, ...]
    software: dict[str, str] = Field(default_factory=dict)  # versions that tested them


class Leader(Record):
    """One line of the leaderboard."""

    child: str
    reward: FiniteFloat
    tokens: tuple[int, ...]
    metrics: dict[str, FiniteFloat]
    stopped: int | None = None


def standing(child: str, reward: float, stopped: int | None) -> tuple[bool, float, str]:
    """Return what puts children in order, the best first: any that was trained to the end is above those stopped."""
    return stopped is not None, -reward, child


class Version(Record):
    """The document of `controllers/<version>`; the tensors beside it are the searcher's."""

    version: int = 0
    parent_sha256: str = ""
    applied: tuple[int, ...] = ()  # rounds that this update applied
    low_mark: int = 0  # every round below it has been applied, and none above it but `extras`
    extras: tuple[int, ...] = ()
    children: int = 0  # applied so far
    failed: int = 0
    suggested: int = 0  # of the children, from outside
    epochs: int = 0  # that scored children were trained
    epochs_saved: int = 0  # because they were stopped
    memory: dict[str, Any] = Field(default_factory=dict)
    numbers: dict[str, FiniteFloat] = Field(default_factory=dict)
    leaders: tuple[Leader, ...] = ()
    recent: tuple[
        AppliedChild, ...
    ] = ()  # applied and not yet in a bundle; kept where a searcher, or rungs, read the history

    @property
    def rounds(self) -> int:
        """Rounds applied so far."""
        return self.low_mark + len(self.extras)


def moment(at: float) -> str:
    """Write a time for people."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def child_id(round_number: int, index: int) -> str:
    """Name a child: zero-padded, so that names sort as children were proposed."""
    return f"{round_number:06d}-{index:03d}"


def child_of(key: str) -> str:
    """Return the child that an object is of, such as a result, by the object's key."""
    return key.rpartition("/")[2].partition(".")[0]


def parse_child_id(child: str) -> tuple[int, int]:
    """Return round and index of a child.

    Raises:
        ValueError: it is not a child's name.
    """
    round_text, _, index_text = child.partition("-")
    if not (round_text.isdigit() and index_text.isdigit()):
        raise ValueError(f"{child!r} is not a child; allowed: ROUND-INDEX, such as 000003-001")
    return int(round_text), int(index_text)
