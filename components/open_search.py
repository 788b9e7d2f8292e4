"""Component *open-search*: check the spec, create the search or take it up.

Args:
    search_name: enough by itself if the spec is in the store.
    search_spec: the spec of a new search; empty otherwise.
    placement: see `components`.

Returns:
    One number for each replica: the loops that run side by side.
"""

from kfp import dsl

from components.image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def open_search(search_name: str, search_spec: dict, placement: str) -> list[int]:
    from rlnas import steps
    from rlnas.spec import parse_spec
    from rlnas.state import marks_of
    from rlnas.steps.common import connect, reported_errors
    from rlnas.steps.data import data_of

    with reported_errors():
        ledger = steps.open_search(connect(), search_name, parse_spec(search_spec) if search_spec else None)
        for line in data_of(ledger).lines:
            print(line)
        for doubt in steps.doubts_of(ledger.spec, ledger.shape):
            print(f"warning: {doubt}")
        for line in marks_of(ledger):
            print(line)
        if ledger.spec.limits:
            print(ledger.spec.limits)
        return list(range(ledger.spec.loop.replicas))
