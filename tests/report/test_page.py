"""The page as Chromium shows it: all there, nothing over anything else, legible in light and in dark, silent."""

import cProfile
import dataclasses
import pstats
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report.made_up import make_up, spec_of
from searches import make_spec, run

from rlnas.report.compared import Track
from rlnas.report.data import ReportData, read_report
from rlnas.report.page import render
from rlnas.state import Bucket, FinalRecord, create_search
from rlnas.state.records import FinalModel

SECTIONS = {"progress", "leaderboard", "decisions", "failures"}
HEADINGS = {"Best so far", "Reward by child", "Policy entropy", "Baseline", "Gradient norm", "Staleness"}
LAYOUT = """() => {
  const leaf = e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  document.querySelectorAll('details').forEach(d => d.open = true);
  const texts = [...document.querySelectorAll('main *')].filter(e => leaf(e) && e.checkVisibility());
  const box = e => { const range = document.createRange(); range.selectNodeContents(e);
    const r = e.closest('svg') ? e.getBoundingClientRect() : range.getBoundingClientRect();
    return {e, l: r.left + 1, r: r.right - 1, t: r.top + 2, b: r.bottom - 2}; };
  const boxes = texts.map(box).filter(b => b.r > b.l && b.b > b.t);
  const overlaps = [];
  boxes.forEach((a, i) => boxes.slice(i + 1).forEach(b => {
    if (!a.e.contains(b.e) && !b.e.contains(a.e) && a.l < b.r && b.l < a.r && a.t < b.b && b.t < a.b)
      overlaps.push(a.e.textContent.trim() + ' | ' + b.e.textContent.trim()); }));
  const wide = boxes.filter(b => !b.e.closest('.scroll') && (b.r > innerWidth || b.l < 0));
  const svgs = [...document.querySelectorAll('svg')].map(s => [s, s.getBoundingClientRect()]);
  const outside = svgs.flatMap(([s, r]) => [...s.querySelectorAll('text')].map(box).filter(
    b => b.l < r.left - 1 || b.r > r.right + 1 || b.t < r.top - 1 || b.b > r.bottom + 1));
  const words = list => list.map(b => b.e.textContent.trim());
  return {overlaps, wide: words(wide), outside: words(outside), texts: boxes.length,
    width: document.documentElement.scrollWidth};
}"""
CONTRAST = """() => {
  const number = c => { const k = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    k.fillStyle = c; k.fillRect(0, 0, 1, 1); return [...k.getImageData(0, 0, 1, 1).data].slice(0, 3); };
  const light = c => { const [r, g, b] = number(c).map(v => v / 255).map(
    v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  const ratio = c => { const v = light(c); return (Math.max(v, paper) + .05) / (Math.min(v, paper) + .05); };
  const colours = [...document.querySelectorAll('main *')].map(e => { const s = getComputedStyle(e);
    return e.closest('svg') && e.tagName === 'text' ? s.fill : s.color; });
  return {paper, worst: Math.min(...new Set(colours.map(ratio)))};
}"""


def opened(browser: Any, page: str, folder: Path, width: int, scheme: str = "light") -> tuple[Any, list[str]]:
    """Open a page; gives it and what the browser complained of or asked the network for."""
    (folder / "page.html").write_text(page)
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    noise: list[str] = []
    tab.on("console", lambda message: noise.append(message.text))
    tab.on("pageerror", lambda error: noise.append(str(error)))
    tab.on("request", lambda request: noise.append(request.url) if not request.is_navigation_request() else None)
    tab.goto((folder / "page.html").as_uri())
    return tab, noise


@pytest.fixture
def pages(bucket: Bucket) -> dict[str, ReportData]:
    """Searches of each kind with failures: one with both controls, one with one, one with none."""
    found = {}
    for kind, children in (("cnn", 64), ("rnn", 1600), ("tabular", 160)):
        ledger = make_up(bucket, spec_of(kind, kind, children), gain=0.2, failing=0.1)
        if kind != "rnn":
            make_up(bucket, spec_of(kind, f"{kind}-control", children, controller={"kind": "random"}))
        if kind == "cnn":
            make_up(bucket, spec_of(kind, f"{kind}-largest", children, controller={"kind": "largest"}))
        found[kind] = read_report(ledger)
    return found


def test_nothing_overlaps_or_is_missing_on_a_phone_and_on_a_desk(
    pages: dict[str, ReportData], browser: Any, tmp_path: Path
) -> None:
    for kind, data in pages.items():
        for width in (400, 1400):
            tab, noise = opened(browser, render(data), tmp_path, width)
            found = tab.evaluate(LAYOUT)
            assert noise == [], kind
            assert found["texts"] > 100
            assert found["width"] == width, kind
            assert (found["overlaps"], found["wide"], found["outside"]) == ([], [], []), (kind, width)
            sections = {section.get_attribute("id") for section in tab.query_selector_all("section")}
            drawn = set() if kind == "tabular" else {"architectures"}
            assert sections == SECTIONS | drawn | ({"front"} if data.front else set())
            headings = {heading.text_content() for heading in tab.query_selector_all("#progress h3")}
            assert headings == HEADINGS | ({"Skip rate"} if kind == "cnn" else set())
            assert len(tab.query_selector_all("#decisions svg")) == len(data.choices)
            assert len(tab.query_selector_all("#leaderboard tbody tr")) == 20
            assert len(tab.query_selector_all("#architectures svg")) == (0 if kind == "tabular" else 3)
            tab.close()


def test_all_text_is_legible_in_light_and_in_dark(pages: dict[str, ReportData], browser: Any, tmp_path: Path) -> None:
    papers = []
    for scheme in ("light", "dark"):
        tab, _ = opened(browser, render(pages["cnn"]), tmp_path, 1400, scheme)
        found = tab.evaluate(CONTRAST)
        assert found["worst"] >= 4.5  # WCAG 2, level AA
        papers.append(found["paper"])
        tab.close()
    assert papers[0] > 0.9
    assert papers[1] < 0.1


def test_every_colour_of_a_chart_follows_the_mode(pages: dict[str, ReportData]) -> None:
    for data in pages.values():
        assert not re.findall(r"<svg.*?#[0-9a-f]{6}.*?</svg>", render(data), flags=re.DOTALL)


def test_the_check_of_the_layout_sees_what_overlaps(pages: dict[str, ReportData], browser: Any, tmp_path: Path) -> None:
    style = "h2 { margin-bottom: -20px; } h1 { white-space: nowrap; }</style>"
    broken = render(pages["cnn"]).replace("</style>", style).replace("<h1>", "<h1>" + "long " * 30)
    tab, _ = opened(browser, broken, tmp_path, 400)
    found = tab.evaluate(LAYOUT)
    assert found["overlaps"]
    assert found["wide"]
    assert found["width"] > 400
    tab.close()


def test_a_large_search_is_one_small_page_made_with_little_work(bucket: Bucket) -> None:
    ledger = make_up(bucket, spec_of("tabular", "large", 12_800), gain=0.2)
    control = make_up(bucket, spec_of("tabular", "large-control", 12_800, controller={"kind": "random"}))
    with cProfile.Profile() as profile:
        page = render(read_report(ledger, [control]))
    assert pstats.Stats(profile).total_calls < 10_000_000  # a second or two on any machine: three millions today
    assert len(page.encode()) < 1_000_000
    assert "12,800" in page


def test_a_page_needs_nothing_else_and_is_the_same_each_time(bucket: Bucket) -> None:
    ledger = run(bucket.settings, make_spec("cnn"))
    page = render(read_report(ledger))
    assert page == render(read_report(ledger))
    assert not re.findall(r"<script|https?://|@import", page)


def test_a_search_that_has_just_begun_has_a_page(bucket: Bucket, browser: Any, tmp_path: Path) -> None:
    from rlnas import steps

    spec = make_spec("cnn")
    tab, noise = opened(browser, render(read_report(steps.open_search(bucket, spec.name, spec))), tmp_path, 400)
    assert "No round is complete yet" in tab.inner_text("main")
    assert noise == []
    tab.close()


def test_what_is_young_or_has_only_failures_is_named_and_not_drawn(
    bucket: Bucket, browser: Any, tmp_path: Path
) -> None:
    ledger = make_up(bucket, spec_of("tabular", "mine", 32), gain=0.2)
    begun = spec_of("tabular", "mine-control", 32, controller={"kind": "random"})
    create_search(bucket, begun, ledger.shape)
    create_search(bucket, spec_of("tabular", "mine-s2", 32, seed=2), ledger.shape)
    make_up(bucket, spec_of("tabular", "mine-s3", 32, seed=3), failing=1.0)
    data = read_report(ledger)
    assert [track.name for track in data.beside.own] == ["mine"]
    assert data.beside.controls == ()
    tab, noise = opened(browser, render(data), tmp_path, 400)
    assert noise == []
    for name in ("mine-control", "mine-s2", "mine-s3"):
        assert f"Search {name} has no scored child yet." in tab.inner_text("main")
    found = tab.evaluate(LAYOUT)
    assert (found["overlaps"], found["wide"], found["width"]) == ([], [], 400)
    tab.close()


def test_seeds_whose_scored_children_do_not_meet_have_a_page(bucket: Bucket) -> None:
    """Ten have failed in one, the other has but two."""
    own, short = np.r_[np.full(10, np.nan), 0.5], np.array([0.4, 0.6])
    tracks = tuple(
        Track(name, rewards, ~np.isnan(rewards), np.zeros_like(rewards, dtype=bool))
        for name, rewards in (("mine", own), ("mine-s2", short))
    )
    data = read_report(make_up(bucket, spec_of("tabular", "mine", 16)))
    page = render(dataclasses.replace(data, beside=dataclasses.replace(data.beside, own=tracks)))
    assert "Best so far" in page


def test_children_that_were_stopped_are_shown_apart(pages: dict[str, ReportData]) -> None:
    data = pages["tabular"]
    [track, *others] = data.beside.own
    assert "stopped early" not in render(data)
    stopped = np.arange(len(track.ok)) % 3 == 0
    own = (dataclasses.replace(track, stopped=stopped), *others)
    page = render(dataclasses.replace(data, beside=dataclasses.replace(data.beside, own=own)))
    dots = page.partition("Reward by child")[2].partition("</svg>")[0]
    assert "stopped early" in page
    for which, hue in ((stopped, "other"), (~stopped, "search")):
        assert len(re.findall(f"<use [^>]*fill: var\\(--{hue}\\)", dots)) == (which & track.ok).sum()


def test_words_of_failures_are_text_and_no_markup(pages: dict[str, ReportData]) -> None:
    page = render(pages["tabular"])
    assert "&lt;step&gt; 3 &amp; 4" in page
    assert "<step>" not in page


def test_the_final_model_and_its_references_are_shown_once_there_is_one(
    pages: dict[str, ReportData], browser: Any, tmp_path: Path
) -> None:
    data = pages["cnn"]
    assert "Final model" not in render(data)
    recipe = {"learning_rate": 0.05, "weight_decay": 0.0001}
    scores = [{"accuracy": 0.9512}, {"accuracy": 0.9412}]
    winner = FinalModel(child="000009-000", recipe=recipe, validation=scores[0], test=scores[1])
    reference = FinalModel(child="000009-001", reference="resnet", reason="not_finite: loss is nan")
    best, other = data.leaders[0].child, data.leaders[1].child
    first = FinalRecord(winner=other, models=(winner.model_copy(update={"test": {"accuracy": 0.9333}}),))
    record = FinalRecord(winner=best, models=(winner, reference))
    page = render(dataclasses.replace(data, finals=(first,)))
    assert f"of child {other}, tested once" in page
    assert "honest estimate" not in page
    tab, _ = opened(browser, render(dataclasses.replace(data, finals=(first, record))), tmp_path, 400)
    cards = [card.inner_text() for card in tab.query_selector_all(".cards div")]
    assert "test accuracy\n0.9412\nof the winner, tested once" in cards
    assert not any("0.9333" in card for card in cards)
    assert "A choice among several children by test numbers is not an honest estimate." in tab.inner_text("#final")
    rows = [row.inner_text().split() for row in tab.query_selector_all("#final tbody tr")]
    assert rows[0][:4] == ["child", other, "0.9512", "0.9333"]
    assert rows[1] == ["winner", best, "0.9512", "0.9412", "learning_rate", "0.05,", "weight_decay", "0.0001"]
    assert rows[2] == ["resnet", "–", "–", "not_finite:", "loss", "is", "nan"]
    found = tab.evaluate(LAYOUT)
    assert (found["overlaps"], found["wide"], found["width"]) == ([], [], 400)
    tab.close()


def test_the_controller_and_its_controls_are_named_and_drawn(pages: dict[str, ReportData]) -> None:
    page = render(pages["cnn"])
    assert "reinforce: the paper&#39;s controller: an LSTM that learns by REINFORCE." in page
    for kind in ("random", "largest"):
        assert f"<dt>control {kind}</dt>" in page
        assert f'<li style="--c:var(--{kind})"><b>{kind}</b>' in page
        assert re.search(rf"(Better than|Worse than|Not distinguishable from) {kind}\b", page)
        assert f"var(--{kind})" in page.partition('aria-label="best reward so far')[2].partition("</svg>")[0]
    assert "largest means nothing in space rnn" in render(pages["rnn"])
