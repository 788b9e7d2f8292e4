"""The Gaussian process: against its textbook formula, and what a search needs of it."""

import math
import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, multivariate_normal, norm

from rlnas.controller.surrogate import Scales, Surrogate, normal_scores, thinned
from rlnas.spaces import Features

SCALES = Scales(choices=0.7, counts=1.3, sizes=2.1, trend=0.4, noise=0.2)


def made_up(generator, decisions=5):
    """Some decisions may not exist; counts and sizes follow from the choices, roughly."""
    choices = {f"d{i}": generator.randrange(3) for i in range(decisions) if generator.random() < 0.8}
    counts = {f"option {k}": sum(v == k for v in choices.values()) for k in range(3)}
    sizes = {"parameters": 1 + sum(choices.values()) ** 2, "flops": 10 + 5 * generator.random()}
    return Features(choices, counts, sizes)


def some(count, seed=0):
    generator = random.Random(seed)
    return [made_up(generator) for _ in range(count)]


def plain_kernel(xs, ys, seen):
    """The kernel, number by number."""
    names = sorted({name for f in seen for name in f.choices})
    counts, sizes = sorted({n for f in seen for n in f.counts}), sorted({n for f in seen for n in f.sizes})

    def standard(values):
        return np.mean(values), np.std(values) or 1.0

    of_counts = {n: standard([f.counts.get(n, 0) for f in seen]) for n in counts}
    of_sizes = {n: standard([math.log(f.sizes[n]) for f in seen]) for n in sizes}

    def kernel(a, b):
        one_hot = sum(0 if a.choices.get(n) == b.choices.get(n) else (n in a.choices) + (n in b.choices) for n in names)
        d = {"choices": one_hot / (2 * len(names))}
        d["counts"] = np.mean([((a.counts.get(n, 0) - b.counts.get(n, 0)) / of_counts[n][1]) ** 2 for n in counts])
        logs = [[(math.log(f.sizes[n]) - of_sizes[n][0]) / of_sizes[n][1] for n in sizes] for f in (a, b)]
        d["sizes"] = np.mean(np.subtract(*logs) ** 2)
        smooth = np.mean([math.exp(-value / getattr(SCALES, name)) for name, value in d.items()])
        return smooth + SCALES.trend * np.dot(*logs) / len(sizes)

    return np.array([[kernel(a, b) for b in ys] for a in xs])


def test_it_predicts_what_the_formula_says():
    seen, new = some(12), some(5, seed=1)
    scores = normal_scores([random.Random(i).random() for i in range(12)])
    noisy = plain_kernel(seen, seen, seen) + SCALES.noise * np.eye(12)
    across = plain_kernel(seen, new, seen)
    weights = np.linalg.solve(noisy, across)
    variance = scores.numpy() @ np.linalg.solve(noisy, scores.numpy()) / 12
    surrogate = Surrogate(seen, scores, SCALES)
    mean, deviation = surrogate.predict(new)
    left = np.diag(plain_kernel(new, new, seen) - across.T @ weights)
    np.testing.assert_allclose(mean, scores.numpy() @ weights, rtol=1e-9)
    np.testing.assert_allclose(deviation, np.sqrt(left * variance), rtol=1e-9)
    expected = plain_kernel(seen, seen, seen) @ np.linalg.solve(noisy, scores.numpy())
    z = (mean.numpy() - expected.max()) / deviation.numpy()
    improvement = deviation.numpy() * (z * norm.cdf(z) + norm.pdf(z))
    np.testing.assert_allclose(surrogate.expected_improvement(new), improvement, rtol=1e-9)


def two_searches(xs, ys, seen, scales):
    """The kernel of two searches; of each pair of lists the first is the earlier search's."""

    def block(a, b, same):
        return plain_kernel(a, b, seen) + scales.level if same else plain_kernel(a, b, seen) / (1 + scales.apart)

    return np.block([[block(a, b, i == j) for j, b in enumerate(ys)] for i, a in enumerate(xs)])


def test_an_earlier_search_tells_as_much_as_the_two_share():
    theirs, mine, new = some(8, seed=3), some(5), some(4, seed=1)
    scores = torch.cat([normal_scores([4.0, 1, 7, 3, 5, 2, 8, 6]), normal_scores([2.0, 5, 1, 4, 3])])
    scales = replace(SCALES, apart=0.6, earlier_noise=0.5, level=1.0)
    seen = [*theirs, *mine]
    noisy = two_searches((theirs, mine), (theirs, mine), seen, scales) + np.diag([0.5] * 8 + [0.2] * 5)
    across = two_searches((theirs, mine), ([], new), seen, scales)
    surrogate = Surrogate(seen, scores, scales, earlier=8)
    mean, deviation = surrogate.predict(new)
    np.testing.assert_allclose(mean, across.T @ np.linalg.solve(noisy, scores.numpy()), rtol=1e-9)
    variance = scores.numpy() @ np.linalg.solve(noisy, scores.numpy()) / 13
    left = np.diag(plain_kernel(new, new, seen) + scales.level - across.T @ np.linalg.solve(noisy, across))
    np.testing.assert_allclose(deviation, np.sqrt(left * variance), rtol=1e-9)
    of_mine = two_searches((theirs, mine), ([], mine), seen, scales)
    expected = of_mine.T @ np.linalg.solve(noisy, scores.numpy())
    z = (mean.numpy() - expected.max()) / deviation.numpy()
    improvement = deviation.numpy() * (z * norm.cdf(z) + norm.pdf(z))
    np.testing.assert_allclose(surrogate.expected_improvement(new), improvement, rtol=1e-9)
    surrogate.pretend(new[0])
    torch.testing.assert_close(surrogate.predict(new)[0], mean)


def test_before_it_has_children_of_its_own_it_goes_by_the_earlier_ones():
    seen = some(30)
    scores = normal_scores([f.counts["option 2"] for f in seen])
    surrogate = Surrogate(seen, scores, Scales.most_likely(seen, scores, earlier=30), earlier=30)
    new = some(40, seed=5)
    gain = surrogate.expected_improvement(new)
    assert new[int(gain.argmax())].counts["option 2"] == max(f.counts["option 2"] for f in new)


def test_how_alike_two_searches_are_is_learned():
    def truth(f):
        return f.counts["option 2"] - 2 * f.counts["option 0"] + f.choices.get("d0", 0)

    theirs, mine, new = some(60, seed=3), some(12), some(60, seed=9)
    own = normal_scores([truth(f) for f in mine])
    wanted = [truth(f) for f in new]

    def found(rewards):
        scores = torch.cat([normal_scores(rewards), own])
        scales = Scales.most_likely([*theirs, *mine], scores, earlier=60)
        return scales, kendalltau(Surrogate([*theirs, *mine], scores, scales, 60).predict(new)[0], wanted).statistic

    rewards = [truth(f) for f in theirs]
    cold = Surrogate(mine, own, Scales.most_likely(mine, own)).predict(new)[0]
    alone = kendalltau(cold, wanted).statistic
    same, with_same = found(rewards)
    opposite, with_opposite = found([-r for r in rewards])
    random.Random(0).shuffle(rewards)
    shuffled, with_shuffled = found(rewards)
    assert same.apart < 0.1 < 1 < opposite.apart
    assert same.earlier_noise < 0.1 < 1 <= max(shuffled.earlier_noise, shuffled.apart)
    assert with_same > alone + 0.05
    assert min(with_opposite, with_shuffled) > alone - 0.15


def test_what_is_pretended_counts_as_seen():
    seen, new, more = some(12), some(6, seed=1), some(3, seed=2)
    scores = normal_scores(list(range(12)))
    surrogate = Surrogate(seen, scores, SCALES)
    for features, score in zip(more, (0.3, None, -1.0), strict=True):
        expected = float(surrogate.predict([features])[0]) if score is None else score
        surrogate.pretend(features, score)
        scores = torch.cat([scores, torch.tensor([expected], dtype=torch.float64)])
    noisy = plain_kernel([*seen, *more], [*seen, *more], seen) + SCALES.noise * np.eye(15)
    across = plain_kernel([*seen, *more], new, seen)
    mean, _ = surrogate.predict(new)
    np.testing.assert_allclose(mean, scores.numpy() @ np.linalg.solve(noisy, across), rtol=1e-8)
    assert surrogate.pretended == 3


def test_an_expected_score_changes_no_expectation_but_makes_it_surer():
    seen, new = some(12), some(8, seed=1)
    surrogate = Surrogate(seen, normal_scores(list(range(12))), SCALES)
    mean, deviation = surrogate.predict(new)
    surrogate.pretend(new[0])
    after, surer = surrogate.predict(new)
    torch.testing.assert_close(after, mean)
    assert (surer <= deviation).all()
    assert surer[0] < 0.9 * deviation[0]


def test_the_likeliest_scales_are_a_top_of_the_marginal_likelihood():
    seen = some(40)
    scores = normal_scores([f.sizes["parameters"] + 5 * f.counts["option 2"] for f in seen])
    best = Scales.most_likely(seen, scores)

    def likelihood(scales):
        global SCALES
        before, SCALES = SCALES, scales
        noisy = plain_kernel(seen, seen, seen) + scales.noise * np.eye(40)
        SCALES = before
        variance = scores.numpy() @ np.linalg.solve(noisy, scores.numpy()) / 40
        return multivariate_normal.logpdf(scores.numpy(), cov=variance * noisy)

    names = ("choices", "counts", "sizes", "trend", "noise")
    assert all(likelihood(best) >= likelihood(other) - 1e-9 for name in names for other in best.neighbours(name))
    assert best != Scales()


def test_it_ranks_what_it_has_not_seen():
    seen, new = some(60), some(60, seed=9)

    def truth(f):
        return f.counts["option 2"] - 2 * f.counts["option 0"] + f.choices.get("d0", 0)

    scores = normal_scores([truth(f) for f in seen])
    surrogate = Surrogate(seen, scores, Scales.most_likely(seen, scores))
    assert kendalltau(surrogate.predict(new)[0], [truth(f) for f in new]).statistic > 0.8


def test_normal_scores_are_quantiles_of_ranks_and_equal_for_equals():
    scores = normal_scores([10.0, -3.0, 10.0, 7.0])
    expected = norm.ppf([(3.5 - 0.5) / 4, 0.5 / 4, (3.5 - 0.5) / 4, 1.5 / 4])
    np.testing.assert_allclose(scores, expected)
    torch.testing.assert_close(normal_scores([1.0, 2.0, 3.0]), normal_scores([-1e6, 0.1, 0.2]))


@pytest.mark.parametrize("features", [Features({"a": 1}, {}, {}), Features({}, {"n": 2}, {})])
def test_a_space_that_says_little_and_rewards_that_are_all_equal_are_no_trouble(features):
    other = Features({"a": 0}, {"n": 5}, {})
    scores = normal_scores([0.0] * 4)
    surrogate = Surrogate([features] * 4, scores, Scales.most_likely([features] * 4, scores))
    improvement = surrogate.expected_improvement([features, other])
    assert improvement.isfinite().all()
    assert improvement[1] > improvement[0]  # where it knows least


def test_options_and_things_never_seen_before_are_far_from_all():
    seen = [Features({"a": 0, "b": k}, {}, {}) for k in range(3)]
    surrogate = Surrogate(seen, normal_scores([1.0, 2.0, 3.0]), SCALES)
    near, far = Features({"a": 0, "b": 1}, {}, {}), Features({"a": 7, "b": 9, "c": 1}, {}, {})
    _, deviation = surrogate.predict([near, far])
    assert deviation[1] > 1.5 * deviation[0]


def test_from_many_trials_the_best_the_newest_and_an_even_spread_are_seen():
    generator = random.Random(0)
    rewards = [generator.random() for _ in range(5000)]
    chosen = thinned(rewards, 1500)
    assert len(set(chosen)) == 1500
    assert chosen == sorted(chosen)
    best = sorted(range(5000), key=lambda i: -rewards[i])[:500]
    assert set(best) <= set(chosen)
    assert set(range(4600, 5000)) <= set(chosen)
    old = [i for i in chosen if i < 4000 and i not in best]
    assert max(b - a for a, b in pairwise(old)) < 25
    assert thinned(rewards[:1500], 1500) == list(range(1500))


def test_a_size_that_is_not_known_counts_as_the_mean():
    """Such as the loss of a short trial, of a child that somebody suggested."""
    seen = [replace(f, sizes={**f.sizes, "loss": math.exp(i)}) for i, f in enumerate(some(8))]
    scores = normal_scores(list(range(8)))
    (new,) = some(1, seed=1)
    without, mean = (
        Surrogate(seen, scores, SCALES).predict([f])
        for f in (new, replace(new, sizes={**new.sizes, "loss": math.exp(3.5)}))
    )
    torch.testing.assert_close(without, mean)


def test_where_a_size_is_known_of_some_only_its_differences_count_among_them():
    known = [replace(f, sizes={"loss": math.exp(i % 3)}, choices={}, counts={}) for i, f in enumerate(some(9))]
    scores = normal_scores([-(i % 3) for i in range(9)])
    blank = Features({}, {}, {})
    surrogate = Surrogate([*known, blank], torch.cat([scores, torch.zeros(1)]), SCALES)
    low, middle, high, unknown = surrogate.predict([*known[:3], blank])[0].tolist()
    assert low > middle > high
    assert unknown == pytest.approx(middle)  # the mean of the logarithms
