"""The measure of searchers: what it pays out, what it judges, and what it says of differences."""

import json
import random

import numpy as np
import pytest

from benchmarks import search_quality
from benchmarks.search_quality import (
    ARENAS,
    Arena,
    Entrant,
    Purse,
    figures,
    judged,
    main,
    paired_interval,
    play,
    reliability,
)
from rlnas.controller import SEARCHERS, SETTINGS, Proposal, Searcher, SearcherState, Trial
from rlnas.registry import resolve
from rlnas.spaces import DataShape
from rlnas.spaces.tabular import TabularSpace

SPACE, SHAPE = TabularSpace(choices=(3,) * 5), DataShape("table", 0)
BUDGET = 30


class Table(dict):
    """A table that counts every look at it."""

    def __init__(self):
        generator = random.Random(0)
        super().__init__({tokens: generator.random() for tokens in np.ndindex(*SPACE.choices)})
        self.looks = []

    def __getitem__(self, tokens):
        self.looks.append(tokens)
        return super().__getitem__(tokens)

    def _refuse(self, *_):
        raise AssertionError("a searcher looked around in the table")

    __iter__ = keys = values = items = get = __contains__ = _refuse


def searcher(kind, settings):
    chosen = resolve(SETTINGS, kind, "rlnas.controller_settings")(**settings)
    return resolve(SEARCHERS, kind, "rlnas.searchers")(SPACE, chosen, SHAPE)


def spoil(seed):
    return tuple(random.Random(seed).choices(range(3), weights=(8, 1, 1), k=5))


ENTRANTS = {str(entrant): entrant for arena in ARENAS for entrant in arena.entrants}


@pytest.mark.parametrize("name", ENTRANTS)
def test_a_searcher_never_reads_an_entry_that_it_did_not_pay_for(name):
    entrant, table = ENTRANTS[name], Table()
    purse = Purse(lambda tokens: table[tokens], BUDGET)
    play(searcher(entrant.kind, entrant.settings), purse, entrant.m, 1, [spoil] * entrant.sabotaged)
    assert len(table.looks) == len(purse.paid) == BUDGET
    assert table.looks == [tokens for tokens, _ in purse.paid]
    with pytest.raises(RuntimeError, match="budget of 30 is spent"):
        purse.buy((0,) * 5)


@pytest.mark.parametrize("name", ENTRANTS)
def test_what_a_searcher_proposes_depends_on_the_rewards_it_paid_for_alone(name):
    """Another table that agrees on what was bought gives the same search."""
    entrant, table = ENTRANTS[name], Table()
    first, second = Purse(lambda tokens: table[tokens], BUDGET), None
    play(searcher(entrant.kind, entrant.settings), first, entrant.m, 1, [spoil] * entrant.sabotaged)
    known = dict(first.paid)
    second = Purse(lambda tokens: known.get(tokens, -1.0), BUDGET)
    play(searcher(entrant.kind, entrant.settings), second, entrant.m, 1, [spoil] * entrant.sabotaged)
    assert second.paid == first.paid


class Watched(Searcher):
    """Proposes one thing, and keeps what it was told."""

    reads_history = True

    def initial(self, seed):
        self.seen, self.learned = [], []
        return SearcherState()

    def propose(self, state, samples, seeds, history=()):
        self.seen.append((samples, len(seeds), [trial.tokens for trial in history]))
        return [Proposal((1,) * 5, None) for _ in seeds]

    def learn(self, state, rounds):
        self.learned += rounds
        return state, {}


def test_what_an_adversary_suggests_takes_the_way_of_suggestions():
    watched, purse = Watched(SPACE, None), Purse(sum, 9)
    play(watched, purse, 4, 0, [lambda seed: (0,) * 5, lambda seed: (2,) * 5])
    outside, own = [(0,) * 5, (2,) * 5], [(1,) * 5] * 2
    assert [tokens for tokens, _ in purse.paid] == [*outside, *own, *outside, *own, outside[0]]
    assert watched.seen == [(0, 2, []), (4, 2, [*outside, *own])]  # the last round has no room for one of its own
    assert [(e.samples, list(e.tokens), list(e.rewards)) for e in watched.learned] == [
        (0, own, [5, 5]),
        (4, own, [5, 5]),
        (8, [], []),
    ]
    assert [list(e.suggested) for e in watched.learned[1:]] == [
        [Trial(outside[0], 0, True), Trial(outside[1], 10, True)],
        [Trial(outside[0], 0, True)],
    ]


@pytest.mark.parametrize(("own", "children"), [(1, 3), (6, 8), (7, 11), (200, 268)])
def test_after_how_many_children_a_sabotaged_searcher_has_made_its_own(own, children):
    assert Entrant("guided", "guided", m=8, sabotaged=2).children(own) == children
    assert Entrant("guided", "guided").children(own) == own


def test_an_adversary_names_three_of_the_worst_cells(monkeypatch):
    cells = list(np.ndindex(*(2,) * 6))
    rewards = {tuple(cell): float(sum(cell)) for cell in cells}
    monkeypatch.setattr(search_quality, "nas_bench_201", lambda: (rewards, rewards))
    monkeypatch.setattr(search_quality, "WORST", 7)
    search_quality._worst.cache_clear()
    drawn = {search_quality.bad_cells(seed) for seed in range(50)}
    search_quality._worst.cache_clear()
    assert len(drawn) > 40
    assert all(sum(tokens[at : at + 6]) <= 1 for tokens in drawn for at in (0, 6, 12))


def test_the_best_by_reward_is_judged_and_nothing_else():
    asked = []

    def judge(tokens):
        asked.append(tokens)
        return 10.0 * tokens[0]

    paid = [((1,), 0.5), ((2,), 0.4), ((3,), 0.5), ((4,), 0.9)]
    assert judged(paid, judge) == [10.0, 10.0, 10.0, 40.0]  # of equals the first
    assert asked == [(1,), (4,)]


def test_reliability_is_when_nine_of_ten_have_found_a_good_one():
    curves = np.full((10, 5), 90.0)
    curves[:8, 1:] = curves[8, 3:] = 94.3
    assert reliability(curves) == 4
    assert reliability(curves[8:]) is None


def test_intervals_are_of_pairs():
    luck = np.random.default_rng(1).normal(size=60)
    value, low, high = paired_interval(luck + 0.1, luck)
    assert value == pytest.approx(0.1)
    assert low == pytest.approx(high) == pytest.approx(0.1)
    value, low, high = paired_interval(luck, np.roll(luck, 1))
    assert low < value < high
    assert low < 0 < high


def test_figures_have_every_field():
    curves = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 5.0]])
    arena = Arena("a", SPACE, SHAPE, (1, 3), 2, (), lambda: (lambda t: 0.0, lambda t: 0.0))
    assert figures(arena, Entrant("guided", "guided", m=8), curves) == [
        {"space": "a", "searcher": "guided", "budget": 1, "m": 8, "mean": 1.5}
        | {"std": 0.7071, "se": 0.5, "seeds": 2, "reliability": None},
        {"space": "a", "searcher": "guided", "budget": 3, "m": 8, "mean": 4.0}
        | {"std": 1.4142, "se": 1.0, "seeds": 2, "reliability": None},
    ]


def test_settings_are_the_same_in_all_arenas():
    for name in ENTRANTS:
        assert len({json.dumps(dict(e.settings)) for arena in ARENAS for e in arena.entrants if str(e) == name}) == 1
    assert all(not ENTRANTS[name].settings for name in ENTRANTS if "," not in name or "m = 8" in name)


def test_entries_of_arenas_that_are_not_run_stay(tmp_path, monkeypatch, capsys):
    table = Table()
    scores = dict(zip(np.ndindex(*SPACE.choices), (table[t] for t in np.ndindex(*SPACE.choices)), strict=True))
    small = Arena("small", SPACE, SHAPE, (5, 25), 3, (Entrant("random", "random"),), lambda: (scores.get, scores.get))
    monkeypatch.setattr(search_quality, "ARENAS", (small,))
    monkeypatch.setattr(search_quality, "OUT", tmp_path / "build" / "quality.json")
    monkeypatch.setattr(search_quality, "compete", lambda arena, seeds: _here(arena, seeds))
    search_quality.OUT.parent.mkdir()
    search_quality.OUT.write_text(json.dumps([{"space": "other"}, {"space": "small", "old": True}]))
    main(["small", "--seeds", "2"])
    entries = json.loads(search_quality.OUT.read_text())
    assert [e["space"] for e in entries] == ["other", "small", "small"]
    assert [(e["budget"], e["seeds"]) for e in entries[1:]] == [(5, 2), (25, 2)]
    assert (tmp_path / "build" / "quality.svg").exists()
    assert "| random | " in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["nowhere"])


def _here(arena, seeds):
    for entrant in arena.entrants:
        yield entrant, np.array([search_quality.run((arena.name, entrant, seed)) for seed in range(seeds)])
