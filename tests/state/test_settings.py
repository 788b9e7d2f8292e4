"""The settings of the store: read from the environment, written to it, and silent about the keys."""

from dataclasses import replace

import pytest

from rlnas.errors import UserError
from rlnas.state.settings import StoreSettings

GOOD = {
    "RLNAS_STORE_ENDPOINT": "seaweedfs.kubeflow:9000",
    "RLNAS_STORE_ACCESS_KEY": "the-access-key",
    "RLNAS_STORE_SECRET_KEY": "the-secret-key",
}


def test_environment_round_trip(tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_text("")
    plain = StoreSettings.from_environment(GOOD)
    full = replace(
        plain, secure=True, region="eu-1", bucket="nas", ca_file=str(ca), session_token="t", single_writer=True
    )
    for settings in (plain, full):
        assert StoreSettings.from_environment(settings.to_environment()) == settings
    assert not plain.secure


def test_no_endpoint_is_no_store():
    assert StoreSettings.from_environment({}) is None
    assert StoreSettings.from_environment(GOOD | {"RLNAS_STORE_ENDPOINT": " "}) is None


def test_all_endpoints_are_those_of_both_variables():
    def hosts(**more):
        return [settings.endpoint for settings in StoreSettings.all_from_environment(GOOD | more)]

    assert hosts() == ["seaweedfs.kubeflow:9000"]
    assert hosts(RLNAS_STORE_ENDPOINTS=" a:1, seaweedfs.kubeflow:9000,http://b:2,") == [*hosts(), "a:1", "b:2"]
    alone = {name: value for name, value in GOOD.items() if name != "RLNAS_STORE_ENDPOINT"}
    assert StoreSettings.all_from_environment(alone) == []
    assert [s.endpoint for s in StoreSettings.all_from_environment(alone | {"RLNAS_STORE_ENDPOINTS": "a:1"})] == ["a:1"]
    with pytest.raises(UserError, match=r"^RLNAS_STORE_ENDPOINTS: a:b: RLNAS_STORE_ENDPOINT: must be host:port"):
        hosts(RLNAS_STORE_ENDPOINTS="a:b")


@pytest.mark.parametrize(
    ("endpoint", "secure", "host"),
    [
        ("http://127.0.0.1:8333", False, "127.0.0.1:8333"),
        ("https://s3.example.org/", True, "s3.example.org"),
        ("store:9000", False, "store:9000"),
    ],
)
def test_scheme_decides_about_tls(endpoint, secure, host):
    settings = StoreSettings.from_environment(GOOD | {"RLNAS_STORE_ENDPOINT": endpoint})
    assert (settings.endpoint, settings.secure) == (host, secure)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RLNAS_STORE_ENDPOINT", "ftp://store:9000"),
        ("RLNAS_STORE_ENDPOINT", "http://user:word@store:9000"),
        ("RLNAS_STORE_ENDPOINT", "store:9000/bucket"),
        ("RLNAS_STORE_ENDPOINT", "store:99999"),
        ("RLNAS_STORE_ACCESS_KEY", ""),
        ("RLNAS_STORE_SECRET_KEY", ""),
        ("RLNAS_STORE_SECURE", "yes"),
        ("RLNAS_STORE_SINGLE_WRITER", "1"),
        ("RLNAS_STORE_BUCKET", "Ab"),
        ("RLNAS_STORE_BUCKET", "a..b"),
        ("RLNAS_STORE_BUCKET", "a.-b"),
        ("RLNAS_STORE_BUCKET", "192.168.1.1"),
        ("RLNAS_STORE_BUCKET", "xn--bucket"),
        ("RLNAS_STORE_BUCKET", "bucket-s3alias"),
        ("RLNAS_STORE_REGION", "us_east!1"),
        ("RLNAS_STORE_REGION", "us-east-1\nX-Header: y"),
        ("RLNAS_STORE_REGION", "-us"),
        ("RLNAS_STORE_CA_FILE", "/nowhere/ca.pem"),
    ],
)
def test_bad_value_is_named_in_one_line(name, value):
    with pytest.raises(UserError, match=name) as caught:
        StoreSettings.from_environment(GOOD | {name: value})
    assert "\n" not in str(caught.value)
    assert "the-secret-key" not in str(caught.value)
    assert "word" not in str(caught.value)


def test_contradiction_about_tls():
    with pytest.raises(UserError, match="contradicts"):
        StoreSettings.from_environment(
            GOOD | {"RLNAS_STORE_ENDPOINT": "https://store:9000", "RLNAS_STORE_SECURE": "false"}
        )


def test_repr_hides_the_keys():
    settings = replace(StoreSettings.from_environment(GOOD), session_token="the-token")
    for secret in ("the-access-key", "the-secret-key", "the-token"):
        assert secret not in repr(settings) + str(settings)
