"""The data of a search: looked through once, when the search begins, and held against that from then on."""

from collections.abc import Mapping

from rlnas.datasets import Dataset, Opener
from rlnas.errors import UserError
from rlnas.state import DataRecord, Ledger, move_data
from rlnas.steps.common import opener


def look_through(dataset: Dataset, open_file: Opener) -> DataRecord:
    """Return what is to be known of data, all parts of it.

    Raises:
        UserError: a part, the test data included, is missing or is not what it should be.
    """
    survey = dataset.survey(open_file)
    return DataRecord(
        fingerprint=dict(dataset.fingerprint(open_file)),
        facts=survey.facts,
        warnings=survey.warnings,
        class_names=tuple(dataset.class_names(open_file)),
    )


def data_of(ledger: Ledger) -> DataRecord:
    """Return what a search's data was when it began; it is looked through now where nobody did then.

    Raises:
        UserError: that was to be done, and a part is missing or is not what it should be.
    """
    known = ledger.data()
    return known or ledger.create_data(look_through(ledger.spec.dataset, opener(ledger.bucket)))


def check_data(ledger: Ledger) -> None:
    """Hold a search's data against what it was when the search began.

    Raises:
        UserError: it is missing, or has changed.
    """
    known, dataset = data_of(ledger).fingerprint, ledger.spec.dataset
    if known:
        compare(ledger.name, dataset, known, dataset.fingerprint(opener(ledger.bucket)))


def compare(search: str, dataset: Dataset, known: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raise `UserError` if a piece of the data is another than it was; an empty fingerprint says nothing."""
    changed = [piece for piece in {**known, **now} if known.get(piece) != now.get(piece)]
    if not (known and now and changed):
        return
    first, more = changed[0], len(changed) - 1
    what = "changed" if first in known and first in now else "is new" if first in now else "is gone"
    places = " and ".join(str(value) for field in dataset.location if (value := getattr(dataset, field)))
    raise UserError(
        f"dataset: {first}{f' of {places}' * bool(places)} {what}{f' (and {more} more)' * bool(more)} since search"
        f" {search} began; allowed: the data as it was, or a new search under another name"
    )


def follow_data(ledger: Ledger, there: Dataset) -> Ledger:
    """Let a search go on with its data at another place.

    Args:
        ledger: of the search.
        there: the search's dataset, but for its location.

    Returns:
        The search, its data there; as it was if nothing is known of its data.

    Raises:
        UserError: what lies there is missing, or is other data.
    """
    known, here = ledger.data(), ledger.spec.dataset
    now = there.fingerprint(opener(ledger.bucket)) if known and known.fingerprint else {}
    if not (known and now):
        return ledger
    compare(ledger.name, there, known.fingerprint, now)
    for field in there.location:
        if (old := getattr(here, field)) != (new := getattr(there, field)):
            print(f"search {ledger.name}: its data moved, dataset.{field} is {new}, no longer {old}", flush=True)
    return move_data(ledger, ledger.spec.model_copy(update={"dataset": there}))
