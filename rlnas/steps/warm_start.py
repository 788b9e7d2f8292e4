"""Look up what a search begins with of an earlier one. It is done once, before the search is created."""

from rlnas.errors import StoreError, UserError
from rlnas.spaces import DataShape
from rlnas.spec import SearchSpec
from rlnas.state import Bucket, Controller, Earlier, Ledger, Lineage, open_search, searcher_of


def look_up(bucket: Bucket, spec: SearchSpec, shape: DataShape) -> tuple[Lineage, Earlier] | None:
    """Return what a search will begin with; None: with nothing.

    The earlier search may go on meanwhile, or afterwards: what its newest version has learned from counts.

    Args:
        bucket: the store.
        spec, shape: of the new search, and of its data.

    Raises:
        UserError: there is no such search, it does not fit, or it has nothing to begin with.
        SearchDeleted: it is being deleted.
        StoreError: it is damaged.
    """
    if spec.warm_start is None:
        return None
    try:
        ledger = open_search(bucket, spec.warm_start.search)
        _check_space(ledger, spec, shape)
        head = ledger.newest()
        if head is None or not head.version.children:
            raise UserError(f"search {ledger.name} has no finished round yet; allowed: a search that has")
    except UserError as error:
        raise UserError(f"warm_start.search: {error}") from None
    version, tensors = head.version, _controller(ledger, head, spec, shape) if spec.warm_start.controller else {}
    applied = {*range(version.low_mark), *version.extras}
    children = [c for s in ledger.summaries() if s.round in applied for c in s.applied]
    if len(children) != version.children:
        ledger.check_alive()
        raise StoreError(f"search {ledger.name} has {version.children} children, but summaries of {len(children)}")
    lineage = Lineage(
        search=ledger.name,
        incarnation=ledger.record.incarnation,
        spec_sha256=ledger.record.spec_sha256,
        version=version.version,
        children=version.children,
        controller=bool(tensors),
    )
    return lineage, Earlier(ledger.spec.space.model_dump(mode="json"), tuple(children), tensors)


def _check_space(ledger: Ledger, spec: SearchSpec, shape: DataShape) -> None:
    theirs, mine = ledger.spec.space, spec.space
    if theirs.kind != mine.kind:
        raise UserError(f"search {ledger.name} is of space {theirs.kind}; allowed: a search of space {mine.kind}")
    for kind in dict.fromkeys([*mine.heads, *theirs.heads]):
        if (options := theirs.heads.get(kind, 0)) != (allowed := mine.heads.get(kind, 0)):
            raise UserError(f"search {ledger.name} has {options} options of {kind}; allowed: {allowed}, as in this one")
    if list(theirs.heads) != list(mine.heads):
        raise UserError(f"search {ledger.name} makes its decisions in another order; allowed: {', '.join(mine.heads)}")
    theirs.check(shape)  # its architectures are looked at as if they were built for this data


def _controller(ledger: Ledger, head: Controller, spec: SearchSpec, shape: DataShape) -> dict:
    """Return the tensors of the earlier controller that take the place of those of version 0."""
    mine, theirs = searcher_of(spec, shape).initial(0).tensors, head.state.tensors
    unfit = [name for name, tensor in mine.items() if name not in theirs or theirs[name].shape != tensor.shape]
    if unfit:
        raise UserError(
            f"warm_start.controller: search {ledger.name}, whose controller is {ledger.spec.controller.kind}, has no"
            f" weights of the size of this one ({unfit[0]}); allowed: a controller of the same size"
            f"{', or false' if 'children' in spec.controller.takes_up else ''}"
        )
    return {name: theirs[name] for name in mine}
