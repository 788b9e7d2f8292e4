"""How many pods a run takes, and how many rounds of a search fit into one run.

Argo keeps a run in one object of at most 1 MiB, in which each pod takes about 2.5 kB beside the pipeline's own 143 kB
(seen: 35 pods 105 kB, 55 pods 153 kB). 300 pods leave room for longer names and messages.
"""

MOST_PODS = 300


def pods_of_run(rounds: int, batches: int, winner: int | None = None, replicas: int = 1) -> int:
    """Count the pods of one run of the search.

    A task takes two pods (driver and executor), a loop one and one an iteration, a condition one, the run itself one.

    Args:
        rounds: of this run, over all replicas; each does the same number.
        batches: tasks that share a round's children: `children_per_round` / `children_per_batch`, rounded up.
        winner: batches of its grid and of its last training, if it is this run that finalizes it; None: it is not.
        replicas: loops side by side.

    Returns:
        With one replica 13 + rounds x (6 + 5 x batches), and 16 + 5 x winner more for the winner.
    """
    turns = -(-rounds // replicas)
    pods = 9 + replicas * (4 + turns * (6 + 5 * batches))
    if winner is not None:
        # Two turns of the loop, in which the other replicas have nothing to do, the test and the export.
        pods += 2 * 6 + 5 * winner + (replicas - 1) * 2 * (6 + 5) + 4
    return pods


def rounds_that_fit(batches: int, winner: int | None = 2, replicas: int = 1) -> int:
    """Return how many rounds a run may have at most, with its winner; one at least. Arguments as of `pods_of_run`."""
    rounds = replicas
    while pods_of_run(rounds + replicas, batches, winner, replicas) <= MOST_PODS:
        rounds += replicas
    return rounds
