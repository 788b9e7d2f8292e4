"""What a run takes: counted in the compiled package, as the documentation says it, and refused before Argo does."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from searches import make_spec

from pipelines.rounds import Shape, check_rounds, rounds_of_run, rounds_that_fit
from pipelines.search import ROUNDS_PER_RUN
from pipelines.size import MOST_BYTES, MOST_PODS, Size, check_size, size_of, size_of_workers
from rlnas.errors import UserError
from rlnas.spec import SearchSpec


@pytest.fixture(scope="module")
def loop(folder: Path) -> list[dict[str, Any]]:
    """The package of the search."""
    return list(yaml.safe_load_all((folder / "search.yaml").read_text()))


def spec_of(children: int = 320, m: int = 8, b: int = 8, replicas: int = 1, **finalize: Any) -> SearchSpec:
    loop = {"children": children, "children_per_round": m, "children_per_batch": b}
    loop |= {"replicas": replicas, "window": replicas}
    return make_spec("cnn", loop=loop, **({"finalize": finalize} if finalize else {}))


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("batches", [1, 2, 8])
@pytest.mark.parametrize("turns", [1, 10])
def test_a_run_takes_as_many_pods_as_the_documentation_says(
    loop: list[dict[str, Any]], batches: int, turns: int, replicas: int
) -> None:
    pods = 9 + replicas * (4 + turns * (6 + 5 * batches))
    assert Shape(batches, None, replicas).size(loop, turns * replicas).pods == pods
    # The winner's two turns, in which the other replicas have nothing to do, the test and the export.
    winner = 16 + 5 * 3 + (replicas - 1) * 2 * (6 + 5)
    assert Shape(batches, 3, replicas).size(loop, turns * replicas).pods == pods + winner


def test_finalize_takes_as_many_pods_as_its_loops_say(folder: Path) -> None:
    documents = list(yaml.safe_load_all((folder / "finalize.yaml").read_text()))
    assert size_of(documents, {"plan-grid": 10, "plan-retraining": 8}).pods == 11 + 5 * 10 + 3 * 8
    with pytest.raises(KeyError):
        size_of(documents, {"plan-grid": 10})  # a loop that nobody has counted


def test_the_estimate_is_what_was_measured(loop: list[dict[str, Any]]) -> None:
    """docs/kubeflow.md: 35 pods 105 kB, 55 pods 153 kB, and the pipeline beside them; a longer spec makes it larger."""
    few, many = Shape(1).size(loop, 2), Shape(1).size(loop, 4)
    assert (few.pods, many.pods) == (35, 57)
    assert many.object_bytes - few.object_bytes == pytest.approx((153_000 - 105_000) / 20 * 22)
    pipeline = few.object_bytes - 105_000
    assert 110_000 < pipeline < 143_000, "the package is shorter than it was when 143 kB were measured"
    assert Shape(1).size(loop, 2, {"search_spec": {"a": "x" * 10_000}}).object_bytes > few.object_bytes + 20_000


def test_what_does_not_fit_is_one_line() -> None:
    check_size(Size(MOST_PODS, MOST_BYTES), "seconds: 1", "2")
    for large in (Size(MOST_PODS + 1, 0), Size(0, MOST_BYTES + 1)):
        with pytest.raises(
            UserError, match=r"^seconds: 1 makes a run of .*\), and Argo takes about 300 pods .*; allowed: 2$"
        ):
            check_size(large, "seconds: 1", "2")


def test_the_default_fits_with_a_winner_even_where_each_child_has_a_pod(loop: list[dict[str, Any]]) -> None:
    assert rounds_that_fit(loop, Shape(8, 2)) == ROUNDS_PER_RUN


@pytest.mark.parametrize(("batches", "replicas", "most"), [(1, 1, 23), (2, 1, 16), (8, 2, 4), (100, 1, 0)])
def test_rounds_that_fit(loop: list[dict[str, Any]], batches: int, replicas: int, most: int) -> None:
    assert rounds_that_fit(loop, Shape(batches, 2, replicas)) == most


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (spec_of(m=8, b=3), Shape(3, None, 1)),
        (spec_of(b=1, data="train"), Shape(8, 2, 1)),
        (spec_of(b=4, replicas=2, grid={"epochs": [1, 2, 3]}, references=["resnet"]), Shape(2, 2 + 1, 2)),
    ],
)
def test_the_shape_of_a_search(spec: SearchSpec, shape: Shape) -> None:
    assert Shape.of(spec) == shape


def test_where_nobody_says_how_many_rounds_as_many_as_fit_are_chosen(loop: list[dict[str, Any]]) -> None:
    finalized = spec_of(b=1, data="train")
    for spec, rounds in [
        (finalized, 5),
        (spec_of(b=1), 6),
        (spec_of(b=8), 26),
        (spec_of(32), 4),
        (spec_of(m=32, b=1), 1),
    ]:
        chosen, size = rounds_of_run(loop, spec, {})
        assert chosen == rounds
        assert size.fits
    assert rounds_of_run(loop, spec_of(children=32), {"rounds_per_run": 0})[0] == 0, "all that are left fit"


@pytest.mark.parametrize(
    ("spec", "asked", "words"),
    [
        (
            spec_of(b=1),
            10,
            r"rounds_per_run: 10 makes a run of 473 pods \(1,\d+ kB\), .*; allowed: 1 to 6; further runs",
        ),
        (spec_of(b=1), 0, r"rounds_per_run: 0 \(all that are left\) .*; allowed: 1 to 6; further runs continue"),
        (spec_of(b=1), -1, "rounds_per_run: -1 is negative"),
        (spec_of(children=320, m=64, b=1), None, r"loop.children_per_batch: 1 .*; allowed: 2 or more"),
        (spec_of(b=1, grid={"epochs": list(range(1, 61))}), 1, "loop.children_per_batch: 1 .*; allowed: 2 or more"),
        (spec_of(replicas=40), None, "loop.replicas: 40 makes .*; allowed: 1 to 19"),
    ],
)
def test_a_run_that_argo_would_refuse_is_refused(
    loop: list[dict[str, Any]], spec: SearchSpec, asked: int | None, words: str
) -> None:
    with pytest.raises(UserError, match=words) as refused:
        rounds_of_run(loop, spec, {} if asked is None else {"rounds_per_run": asked})
    assert "\n" not in str(refused.value)


def test_what_is_allowed_fits(loop: list[dict[str, Any]]) -> None:
    assert rounds_of_run(loop, spec_of(b=1), {"rounds_per_run": 6})[1].fits
    assert rounds_of_run(loop, spec_of(m=64, b=2), {})[1].fits
    assert rounds_of_run(loop, spec_of(replicas=19), {})[1].fits


def test_of_an_unknown_search_only_what_fits_nowhere_is_refused(loop: list[dict[str, Any]]) -> None:
    check_rounds(loop, {})
    check_rounds(loop, {"rounds_per_run": 26})
    with pytest.raises(UserError, match=r"rounds_per_run: 27 makes a run of .*; allowed: 1 to 26, less"):
        check_rounds(loop, {"rounds_per_run": 27})
    with pytest.raises(UserError, match="rounds_per_run: -1 is negative"):
        check_rounds(loop, {"rounds_per_run": -1})


def test_a_run_of_workers(folder: Path) -> None:
    documents = list(yaml.safe_load_all((folder / "workers.yaml").read_text()))
    assert [size_of_workers(documents, workers, {}).pods for workers in (1, 8)] == [15 + 3, 15 + 3 * 8]
    assert "15 + 3 a worker; with 8 workers 39" in Path("docs/kubeflow.md").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"workers: 500 makes a run of 1,515 pods .*; allowed: 1 to 9"):
        size_of_workers(documents, 500, {})
