"""`gc`, `copy`, `retry` and `list --sizes` as a person uses them."""

import json
from datetime import timedelta
from typing import Any

import pytest
from proxy import FaultyProxy
from searches import make_spec, run, run_apart

from rlnas import steps
from rlnas.cli import care
from rlnas.state import Bucket, Result, StoreSettings, garbage
from rlnas.state.suggestions import read_suggestions


def test_gc_shows_and_deletes_when_told(rlnas: Any, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = run_apart(bucket, make_spec())
    assert rlnas("gc")[1].startswith("nothing to delete\nnext: rlnas list --sizes")
    bucket.put(ledger.checkpoint_key("000000-000"), b"x" * 1500)
    bucket.put("searches/gone/0123/leases/000000-000.json", b"late")
    status, out, err = rlnas("gc")
    assert (status, err) == (0, "")
    assert "checkpoints of ended children" in out
    assert "gone" not in out, "it may be a search that is being copied to here"
    assert "would be deleted: 1.5 kB; nothing is changed yet\nnext: rlnas gc --yes" in out
    assert f"next: rlnas gc {ledger.name} --yes" in rlnas("gc", ledger.name)[1]
    monkeypatch.setattr(garbage, "STILL", timedelta(minutes=-1))
    assert "left by deleted searches and half copies" in rlnas("gc")[1]
    assert "deleted: 1.5 kB" in rlnas("gc", "--yes")[1]
    assert not list(bucket.list_all("searches/gone/"))
    assert bucket.get(ledger.checkpoint_key("000000-000")) is None
    for wrong, words in {"../x": "name: '../x' cannot name a search", "none": "no search 'none' in the store"}.items():
        status, out, err = rlnas("gc", wrong)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"rlnas: {words}")


def test_sizes(rlnas: Any, bucket: Bucket) -> None:
    ledger = run_apart(bucket, make_spec())
    keys = list(bucket.list_all(f"searches/{ledger.name}/"))
    size = sum(len(bucket.get(key).data) for key in keys)
    (row,) = json.loads(rlnas("list", "--sizes", "--json")[1])
    assert (row["objects"], row["bytes"]) == (len(keys), size)
    assert "objects" not in json.loads(rlnas("list", "--json")[1])[0]
    status, out, _ = rlnas("list", "--sizes")
    assert status == 0
    assert f"{size / 1000:.3g} kB" in out


def test_copy(
    rlnas: Any, bucket: Bucket, store_settings: StoreSettings, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = run_apart(bucket, make_spec())
    to = f"http://{bucket.settings.endpoint}/{bucket.settings.bucket}-to"
    assert "RLNAS_TO_ACCESS_KEY: is empty" in rlnas("copy", ledger.name, "--to", to)[2]
    for name, value in (("ACCESS_KEY", store_settings.access_key), ("SECRET_KEY", store_settings.secret_key)):
        monkeypatch.setenv(f"RLNAS_TO_{name}", value)
    for wrong, words in {
        "archive": "--to: 'archive' names no bucket; allowed: ENDPOINT/BUCKET",
        "ftp://host/archive": "--to: ftp:// is not a scheme of S3",
        f"{bucket.settings.endpoint}/A": "--to: 'A' must be 3 to 63 lower-case letters",
    }.items():
        status, out, err = rlnas("copy", ledger.name, "--to", wrong)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"rlnas: {words}")
    proxy.say = (
        400,
        {"Content-Type": "application/xml", "x-amz-request-id": "1"},
        b"<Error><Code>AuthorizationHeaderMalformed</Code></Error>",
    )
    status, _, err = rlnas("copy", ledger.name, "--to", f"http://{proxy.endpoint}/archive")
    assert (status, err.count("\n")) == (2, 1)
    assert "than us-east-1, which RLNAS_TO_REGION says" in err
    other = Bucket(StoreSettings(**vars(bucket.settings) | {"bucket": f"{bucket.settings.bucket}-to"}))
    try:
        status, out, err = rlnas("copy", ledger.name, "--to", to)
        assert (status, err) == (0, "")
        assert f"search {ledger.name} is copied: " in out
        assert store_settings.secret_key not in out
        assert list(other.list_all("searches/")) == list(bucket.list_all("searches/"))
        where = f"RLNAS_STORE_ENDPOINT={bucket.settings.endpoint} RLNAS_STORE_BUCKET={other.settings.bucket} ... rlnas"
        assert f"next: {where} status {ledger.name}" in out
        out = rlnas("copy", ledger.name, "--to", to)[1]
        assert "is there already; nothing was copied\nnext: " in out
        rlnas("extend", ledger.name, "--children", "8")
        run(bucket.settings, ledger.spec)
        out = rlnas("copy", ledger.name, "--to", to)[1]
        assert "nothing was copied\nwarning: there 4 of its children are applied, here 8; " in out
    finally:
        other.delete(list(other.list_all("")))
        other._client.remove_bucket(other.settings.bucket)


def test_a_copy_that_is_stopped_says_so(rlnas: Any, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = run_apart(bucket, make_spec())
    for name, value in (("ACCESS_KEY", bucket.settings.access_key), ("SECRET_KEY", bucket.settings.secret_key)):
        monkeypatch.setenv(f"RLNAS_TO_{name}", value)

    def stopped(*given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(care, "copy_search", stopped)
    to = f"{bucket.settings.endpoint}/{bucket.settings.bucket}"
    words = "rlnas: stopped; what is copied stays there, the same command goes on\n"
    assert rlnas("copy", ledger.name, "--to", to) == (130, "", words)
    monkeypatch.setattr(care, "find_garbage", stopped)
    assert rlnas("gc") == (130, "", "rlnas: stopped\n")


@pytest.mark.parametrize("command", [("delete", "--yes"), ("pause",), ("status",), ("extend", "--children", "9")])
def test_a_folder_that_was_copied_by_hand_is_no_search(rlnas: Any, bucket: Bucket, command: tuple[str, ...]) -> None:
    """It has the record of another search: what is done to it would be done to that one."""
    ledger = run_apart(bucket, make_spec())
    for key in list(bucket.list_all(f"searches/{ledger.name}/")):
        bucket.put(key.replace(ledger.name, f"{ledger.name}-backup", 1), bucket.get(key).data)
    before = {key: bucket.get(key).data for key in bucket.list_all("searches/")}
    verb, *options = command
    status, out, err = rlnas(verb, f"{ledger.name}-backup", *options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"rlnas: searches/{ledger.name}-backup/search.json: it is the record of search {ledger.name}")
    assert {key: bucket.get(key).data for key in bucket.list_all("searches/")} == before
    own, copied = json.loads(rlnas("list", "--json")[1])
    assert (own["name"], copied["name"]) == (ledger.name, f"{ledger.name}-backup")
    assert "it is the record of search" in copied["unreadable"]


def test_retry(rlnas: Any, bucket: Bucket) -> None:
    spec = make_spec()
    ledger = steps.open_search(bucket, spec.name, spec)
    steps.sample_architecture(ledger)
    ledger.create_result("000000-001", Result(status="lost", reward=0.0))
    status, out, err = rlnas("retry", spec.name, "000000-001")
    assert (status, err) == (0, "")
    assert "child 000000-001 stays lost; its architecture waits for a round" in out
    assert len(read_suggestions(ledger, 0, 10)) == 1
    assert rlnas("retry", spec.name, "000000-000")[2] == (
        "rlnas: child 000000-000 has not ended, and runs go on with it; allowed: a lost child\n"
    )
