"""Open a search: check everything that can be checked before anything is started."""

from rlnas.children import RECIPES
from rlnas.datasets import Opener
from rlnas.errors import UserError
from rlnas.registry import kinds, resolve
from rlnas.spaces import DataShape
from rlnas.spec import SearchSpec
from rlnas.state import Bucket, Ledger, create_search, find_search
from rlnas.state import open_search as open_existing
from rlnas.steps.common import opener
from rlnas.steps.data import check_data, compare, data_of, follow_data, look_through
from rlnas.steps.warm_start import look_up


def open_search(bucket: Bucket, search_name: str, spec: SearchSpec | None) -> Ledger:
    """Create a search from its spec, or take up the one of that name.

    Args:
        bucket: the store.
        search_name: enough by itself if the spec is in the store already.
        spec: of a new search, or the very spec of an existing one; only the place of its data may be another, and what
            was changed since.

    Raises:
        UserError: bad input; nothing was started and nothing was changed.
        StoreError: the store cannot be used.
    """
    if spec is not None and spec.name != search_name:
        raise UserError(f"search_name: {search_name!r} is not the spec's name; allowed: {spec.name}")
    bucket.ensure()
    if spec is None:
        ledger = open_existing(bucket, search_name)
        check_data(ledger)
        return ledger
    if known := find_search(bucket, search_name):
        return _take_up(known, spec)
    files = opener(bucket)
    shape, data = check_spec(spec, files), look_through(spec.dataset, files)
    warm_start = look_up(bucket, spec, shape)
    bucket.probe()
    ledger = create_search(bucket, spec, shape, warm_start)
    if ledger.record.warm_start:
        print(f"search {ledger.name} begins with {ledger.record.warm_start}", flush=True)
    compare(ledger.name, spec.dataset, ledger.create_data(data).fingerprint, data.fingerprint)
    return ledger


def _take_up(ledger: Ledger, spec: SearchSpec) -> Ledger:
    """Open a search that exists with its own spec, which may say that the data lies elsewhere by now."""
    spec = ledger.extended(spec)
    there = ledger.spec.with_data_at(spec)
    if there != ledger.spec and not spec.differences(there):
        ledger = follow_data(ledger, there.dataset)
    ledger.check_spec(spec)
    if ledger.data():
        check_data(ledger)  # before the shape, since it names what has changed
    ledger.check_shape(check_spec(ledger.spec, opener(ledger.bucket)))
    ledger.bucket.probe()
    data_of(ledger)  # of a search that began before it was recorded
    return ledger


def check_spec(spec: SearchSpec, open_file: Opener) -> DataShape:
    """Check that a spec's parts fit one another and that its data is there.

    Returns:
        The shape of the data.

    Raises:
        UserError: they do not, or it is not.
    """
    made, trained = spec.space.architecture, spec.child.architecture
    if not issubclass(made, trained):
        recipes = {kind: resolve(RECIPES, kind, "rlnas.recipes") for kind in kinds(RECIPES, "rlnas.recipes")}
        fitting = [kind for kind, recipe in recipes.items() if issubclass(made, recipe.architecture)]
        raise UserError(
            f"child.kind: {spec.child.kind} trains a {trained.__name__}, but space.kind {spec.space.kind} makes a"
            f" {made.__name__}; allowed: {', '.join(fitting) or 'another space'}"
        )
    shape = spec.dataset.shape(open_file)
    if shape.modality != spec.child.modality:
        raise UserError(
            f"dataset.kind: {spec.dataset.kind} holds {shape.modality}, but a child of kind {spec.child.kind} needs"
            f" {spec.child.modality}"
        )
    if unknown := [name for name in spec.objective.measures if name not in spec.child.measures]:
        allowed = ", ".join(spec.child.measures) or "none"
        raise UserError(f"objective: {spec.child.kind} children have no {unknown[0]}; allowed: {allowed}")
    if spec.controller.asks_for_trials and not spec.child.trial:
        raise UserError(f"controller.trials: {spec.child.kind} children have no short trial; allowed: 0")
    spec.dataset.check(spec.space, open_file)
    spec.space.check(shape)
    for recipe in spec.recipes:
        recipe.check(spec.space, shape)
    return shape
