"""The comparison of found cells with the LSTM: what is run, and how it is summed up. The pipeline has its own tests."""

from benchmarks.search_long import SPEC, row, table, variants
from rlnas.spec import load_spec
from rlnas.state.records import FinalModel, FinalRecord


def test_the_seeds_are_searches_of_their_own_with_the_recipe_of_the_short_example():
    spec = load_spec(SPEC)
    assert [(v.name, v.seed) for v in variants(spec, 3)] == [
        ("text-rnn-long", 1),
        ("text-rnn-long-s2", 2),
        ("text-rnn-long-s3", 3),
    ]
    short = load_spec(SPEC.with_name("text-rnn.yaml"))
    assert (spec.space, spec.dataset, spec.child) == (short.space, short.dataset, short.child)
    assert spec.loop.children <= 128
    assert spec.finalize.references == ("lstm",)


def test_tests_are_compared_in_pairs():
    rows = []
    for cell, lstm in ((60.0, 66.0), (62.0, 70.0)):
        models = (
            FinalModel(child="000017-000", validation={"perplexity": cell - 1}, test={"perplexity": cell}),
            FinalModel(
                child="000017-001", reference="lstm", test={"perplexity": lstm}, validation={"perplexity": 65.0}
            ),
        )
        rows.append(row("long", FinalRecord(winner="000003-001", models=models)))
    assert rows[0]["winner"] == "000003-001"
    assert (rows[0]["cell_test"], rows[0]["lstm_test"]) == (60.0, 66.0)
    written = table(rows)
    assert "| long | 000003-001 | 59.00 | 65.00 | 60.00 | 66.00 |" in written
    assert "cell minus LSTM: -7.00 ± 1.00, 2 seeds" in written
