"""What a search is, on a real store: the spec, the data and the record that fit it, and those that do not."""

import json
from dataclasses import replace

import pytest
import searches
from state.made_up import create

from rlnas.errors import StoreError, UserError
from rlnas.state import create_search, open_search
from rlnas.steps import check_spec
from rlnas.steps.common import opener


def test_changed_spec_is_refused_field_by_field(bucket, ledger, spec):
    document = spec.model_dump(mode="json")
    document["seed"] = 5
    document["loop"]["children"] = 80
    document["controller"]["hidden"] = 9
    with pytest.raises(UserError) as caught:
        create(bucket, searches.parse_spec(document))
    assert str(caught.value) == (
        f"search {spec.name} exists with another spec (seed: 5, not 0; controller.hidden: 9, not 8;"
        " loop.children: 80, not 40); allowed: its own spec, or another name: in the spec, or by --name NAME"
    )
    assert create(bucket, spec).record == ledger.record


def test_spec_from_before_a_field_was_there(bucket, ledger, spec):
    """A new version of rlnas adds a field with a default: searches in the store go on."""
    record = json.loads(bucket.get(f"searches/{spec.name}/search.json").data)
    del record["spec"]["failures"]["lost"]
    record["spec_sha256"] = "of before"
    bucket.put(f"searches/{spec.name}/search.json", json.dumps(record, separators=(",", ":")).encode())
    assert create(bucket, spec).record.incarnation == ledger.record.incarnation


def test_changed_data_is_refused(bucket, ledger, spec):
    shape = check_spec(spec, opener(bucket))
    with pytest.raises(UserError, match=f"search {spec.name}: its data has changed: .*'classes': 3.*, not"):
        create_search(bucket, spec, replace(shape, classes=3))


def test_unknown_schema_is_refused(bucket, ledger, spec):
    key = f"searches/{spec.name}/search.json"
    data = bucket.get(key).data
    later = r"search.json: a newer version of rlnas wrote it \(schema (2|17); this one reads up to 1\); upgrade rlnas"
    for other, error, words in (
        (data.replace(b'"schema_version":1,', b'"schema_version":2,'), UserError, later),
        (b'{"schema_version": 17}', UserError, later),
        (b'{"schema_version": true}', StoreError, "search.json: not a searchrecord of this version"),
        (b"{}", StoreError, "search.json: not a searchrecord of this version"),
    ):
        bucket.put(key, other)
        for attempt in (lambda: open_search(bucket, spec.name), lambda: create(bucket, spec)):
            with pytest.raises(error, match=words):
                attempt()
        assert bucket.get(key).data == other
