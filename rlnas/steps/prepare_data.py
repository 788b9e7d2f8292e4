"""Prepare the data of a search, before any child is trained."""

from rlnas.spec import SearchSpec
from rlnas.state import Bucket, open_search


def prepare_data(bucket: Bucket, search_name: str, spec: SearchSpec | None) -> str:
    """Fetch what the dataset lacks, and compare checksums where it has any; nothing to do if it is all there.

    It touches no search: any number of runs may do it at once, and a task that is killed is simply run again.

    Args:
        bucket: the store.
        search_name: of the search whose spec is in the store.
        spec: of a new search instead.

    Returns:
        Where the data is, in words.

    Raises:
        UserError: there is no such search, or the data can neither be found nor fetched.
    """
    if spec is None:
        bucket.ensure()
        spec = open_search(bucket, search_name).spec
    return spec.dataset.prepare()
