"""Component *prepare-data*: bring the dataset to where children read it, once. The only task that may download.

Args:
    search_name: enough by itself if the spec is in the store.
    search_spec: the spec of a new search; empty otherwise.
    placement: see `components`.

Returns:
    Where the data is, in words.
"""

from kfp import dsl

from components.image import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def prepare_data(search_name: str, search_spec: dict, placement: str) -> str:
    from rlnas import steps
    from rlnas.spec import parse_spec
    from rlnas.steps.common import connect, reported_errors

    with reported_errors():
        where = steps.prepare_data(connect(), search_name, parse_spec(search_spec) if search_spec else None)
    print(where)
    return where
