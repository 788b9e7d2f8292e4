"""The bucket on a real SeaweedFS, through networks good and bad."""

import logging
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest
from proxy import FaultyProxy
from searches import in_process
from waiting import LIMIT, wait_for

from rlnas.errors import StoreError
from rlnas.state import bucket as module
from rlnas.state.bucket import Bucket
from rlnas.state.embedded import SERVICES, EmbeddedStore
from rlnas.state.settings import StoreSettings


def race(function):
    """What eight threads got from `function(i)`, called at once."""
    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(function, range(8)))


# --- objects ---


def test_create_replace_get_put_delete(bucket):
    assert bucket.get("a/x") is None
    first = bucket.create("a/x", b"one")
    assert bucket.get("a/x") == (b"one", first)
    assert bucket.create("a/x", b"two") is None
    second = bucket.replace("a/x", b"two", first)
    assert bucket.replace("a/x", b"three", first) is None
    assert bucket.get("a/x") == (b"two", second)
    assert bucket.replace("a/nothing", b"", first) is None
    bucket.put("a/x", b"")
    assert bucket.get("a/x").data == b""
    bucket.delete(["a/x", "a/never-was"])
    assert bucket.get("a/x") is None
    assert bucket.create("a/x", b"anew") is not None


def test_large_object(bucket):
    data = bytes(range(250)) * 400_000  # 100 MB
    etag = bucket.create("large", data)
    found = bucket.get("large")
    assert found.data == data
    assert found.etag == etag
    assert bucket.replace("large", b"small", etag) is not None


def test_a_write_whose_sender_is_killed_before_the_body_leaves_nothing(bucket):
    """The headers are out by then; an object made of them alone could never be created again."""

    class Body:
        def __init__(self, data):
            pass

        def read(self, size=-1):
            os.kill(os.getpid(), signal.SIGKILL)

    def killed():
        module.io = SimpleNamespace(BytesIO=Body)
        Bucket(bucket.settings).create("a/x", b"data")

    assert in_process(killed) == -signal.SIGKILL
    time.sleep(0.5)  # for the server to see the end of the connection
    assert bucket.get("a/x") is None
    assert bucket.create("a/x", b"data")


def test_body_may_take_longer_than_connecting(proxied, proxy, monkeypatch):
    """urllib3 sends a body of bytes under the connect timeout as a whole."""
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.5)
    slow = Bucket(proxied.settings)

    class SlowReader:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def read(self, size):
            parts = []
            while size > 0 and (part := self.file.read(min(size, 2_000_000))):
                parts.append(part)
                size -= len(part)
                time.sleep(0.1)
            return b"".join(parts)

    setup = proxy.RequestHandlerClass.setup

    def slow_setup(handler):
        setup(handler)
        handler.rfile = SlowReader(handler.rfile)

    monkeypatch.setattr(proxy.RequestHandlerClass, "setup", slow_setup)
    assert slow.create("slow", bytes(24_000_000)) is not None
    assert slow.requests["PUT"] == 1


@pytest.mark.parametrize("_", range(5))
def test_races_have_one_winner(bucket, _):
    created = race(lambda i: bucket.create("key", b"%d" % i))
    winner = next(i for i, etag in enumerate(created) if etag)
    assert sum(etag is not None for etag in created) == 1
    assert bucket.get("key") == (b"%d" % winner, created[winner])
    replaced = race(lambda i: bucket.replace("key", b"new %d" % i, created[winner]))
    winner = next(i for i, etag in enumerate(replaced) if etag)
    assert sum(etag is not None for etag in replaced) == 1
    assert bucket.get("key") == (b"new %d" % winner, replaced[winner])


def test_listing_pages(bucket):
    keys = [f"many/{i:04d}" for i in range(1205)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: bucket.put(key, b"x"), keys))
    bucket.requests.clear()
    assert bucket.list("many/") == keys[:1000]
    assert bucket.list("many/", start_after=keys[999]) == keys[1000:]
    assert bucket.list("many/", start_after=keys[9], limit=5) == keys[10:15]
    assert bucket.list("few/") == []
    assert bucket.requests == {"LIST": 4}
    assert list(bucket.list_all("many/")) == keys
    bucket.requests.clear()
    bucket.delete(keys)
    assert bucket.requests == {"DELETE": 2}
    assert bucket.list("") == []


def test_ensure_twice(bucket):
    other = Bucket(bucket.settings)
    other.ensure()
    assert other.requests == {"GET": 1}


# --- protocol test 1: the probe ---


def test_probe_accepts_the_store_and_leaves_no_trace(bucket, proxied):
    for one in (bucket, proxied):
        one.probe()
        assert one.list("") == []


@pytest.mark.parametrize("header", ["If-None-Match", "If-Match"])
def test_probe_refuses_a_dropped_header(proxied, proxy, header):
    proxy.drop = {header}
    with pytest.raises(StoreError, match=f"ignores {header};") as caught:
        proxied.probe()
    assert proxy.endpoint in str(caught.value)
    assert "RLNAS_STORE_SINGLE_WRITER" in str(caught.value)
    assert proxied.list("") == []


def test_probe_refuses_a_store_that_looks_before_it_writes(bucket, monkeypatch):
    """Each condition alone is kept, but not at once: only the race can tell."""
    look = Bucket(replace(bucket.settings, single_writer=True))
    all_have_looked = threading.Barrier(8)

    def create(key, data):
        missing = look.get(key) is None
        if data.startswith(b"created by"):
            all_have_looked.wait(LIMIT)
        return look._put(key, data, {}) if missing else None

    monkeypatch.setattr(bucket, "create", create)
    with pytest.raises(StoreError, match="let 8 of 8 create"):
        bucket.probe()


def test_single_writer_needs_no_conditions(proxied, proxy):
    proxy.drop = {"If-None-Match", "If-Match"}
    single = Bucket(replace(proxied.settings, single_writer=True))
    single.probe()
    etag = single.create("key", b"one")
    assert single.create("key", b"two") is None
    assert single.replace("key", b"two", "another") is None
    assert single.get("key") == (b"one", etag)
    assert single.replace("key", b"two", etag) is not None
    assert proxy.conditional == 0


# --- protocol test 5: lost answers ---


def test_lost_answers_cost_nothing(bucket, proxied, proxy):
    proxy.lose = {1, 3}
    first = proxied.create("key", b"one")
    assert bucket.get("key") == (b"one", first)
    second = proxied.replace("key", b"two", first)
    assert bucket.get("key") == (b"two", second)
    assert proxy.conditional == 4


def test_lost_answer_of_a_loser_is_a_loss(bucket, proxied, proxy):
    etag = bucket.create("key", b"theirs")
    proxy.lose = range(1, 99, 2)
    assert proxied.create("key", b"ours") is None
    assert proxied.replace("key", b"ours", "stale") is None
    assert bucket.get("key") == (b"theirs", etag)


@pytest.mark.parametrize("status", [409, 429, 500, 503])
def test_passing_errors_are_tried_again(proxied, proxy, status):
    proxy.answer = [status]
    etag = proxied.create("key", b"one")
    assert etag is not None
    proxy.answer = [status]
    assert proxied.get("key") == (b"one", etag)
    proxy.answer = [status]
    assert proxied.list("") == ["key"]
    proxy.answer = [status]
    proxied.delete(["key"])
    assert proxied.requests == {"PUT": 2, "GET": 2, "LIST": 2, "DELETE": 2}


# --- failures, told in one line without a secret ---


def operations(bucket):
    return {
        "get": lambda: bucket.get("some/key"),
        "create": lambda: bucket.create("some/key", b"x"),
        "replace": lambda: bucket.replace("some/key", b"x", "etag"),
        "put": lambda: bucket.put("some/key", b"x"),
        "list": lambda: bucket.list("some/"),
        "folders": lambda: bucket.folders("some/"),
        "delete": lambda: bucket.delete(["some/key"]),
        "ensure": bucket.ensure,
        "probe": bucket.probe,
    }


def failure(bucket, name):
    """The text with which an operation fails, after looking for secrets in all that anybody could print of it."""
    with pytest.raises(StoreError) as caught:
        operations(bucket)[name]()
    error = caught.value
    assert error.__context__ is None
    told = str(error) + repr(error) + "".join(traceback.format_exception(error)) + repr(bucket)
    for secret in (bucket.settings.access_key, bucket.settings.secret_key, r"X-Amz-\w+=[^*]", r"Signature=[^*]"):
        assert not re.search(secret, told)
    assert "\n" not in str(error)
    assert bucket.settings.endpoint in str(error)
    return str(error)


@pytest.mark.parametrize("name", ["get", "create", "replace", "put", "list", "delete", "ensure", "probe"])
def test_wrong_keys_fail_at_once(bucket, name):
    for wrong in ({"secret_key": "the-wrong-secret"}, {"access_key": "the-wrong-access"}):
        other = Bucket(replace(bucket.settings, **wrong))
        assert "access denied, check the keys" in failure(other, name)
        assert sum(other.requests.values()) <= 2  # the probe also tries to clean up


@pytest.mark.parametrize("name", ["get", "create", "list", "delete", "ensure"])
def test_server_down(bucket, name):
    with FaultyProxy("nobody") as closed:
        pass
    down = Bucket(replace(bucket.settings, endpoint=closed.endpoint), patience=1)
    assert "connection refused" in failure(down, name)
    assert sum(down.requests.values()) >= 3


def test_server_comes_back_within_patience(proxied, proxy):
    proxy.refuse = True
    assert "the connection was cut" in failure(proxied, "get")
    patient = Bucket(proxied.settings, patience=LIMIT)
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(patient.create, "key", b"x")
        wait_for(lambda: patient.requests["PUT"] > 1)
        proxy.refuse = False
        assert future.result() is not None


# --- the store's own words ---

XML = {"Content-Type": "application/xml", "x-amz-request-id": "1"}
ERROR = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{}</Code><Message>{}</Message>{}</Error>'
OPERATIONS = ["get", "create", "replace", "put", "list", "folders", "delete", "ensure"]
# As stores say it: AWS to a header and to a signed address, of another partition's endpoint, Garage, an old one.
WRONG_REGION = {
    "header": (
        400,
        "AuthorizationHeaderMalformed",
        "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-central-1'",
        "<Region>eu-central-1</Region>",
        {},
    ),
    "address": (
        400,
        "AuthorizationQueryParametersError",
        "Error parsing the X-Amz-Credential parameter; the region 'us-east-1' is wrong; expecting 'eu-central-1'",
        "",
        {},
    ),
    "redirect": (301, "PermanentRedirect", "Use another endpoint.", "", {"x-amz-bucket-region": "eu-central-1"}),
    "refusal": (403, "AccessDenied", "Access Denied", "", {"x-amz-bucket-region": "eu-central-1"}),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("case", WRONG_REGION)
def test_a_wrong_region_is_said_with_the_right_one(proxied, proxy, case, name):
    status, code, message, more, headers = WRONG_REGION[case]
    proxy.say = (status, XML | headers, ERROR.format(code, message, more).encode())
    line = failure(proxied, name)
    assert "the bucket is in region eu-central-1, not us-east-1: set RLNAS_STORE_REGION=eu-central-1" in line
    assert code in line
    assert sum(proxied.requests.values()) == 1, "trying again does not help"


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_wrong_region_without_the_right_one(proxied, proxy, name):
    words = "Authorization header malformed, unexpected scope: 20260101/us-east-1/s3/aws4_request"
    proxy.say = (400, XML, ERROR.format("AuthorizationHeaderMalformed", words, "").encode())
    line = failure(proxied, name)
    assert "in another region, or at another address, than us-east-1, which RLNAS_STORE_REGION says" in line
    assert words in line


HTML = {"Content-Type": "text/html; charset=utf-8"}
NO_STORES = {
    "console": (200, HTML, b"<!doctype html><title>Console</title><p>Please sign in"),
    "sound XML, as pages once were": (200, HTML, b"<html><body>Welcome</body></html>"),
    "page with an etag": (200, HTML | {"ETag": '"5f3a"'}, b"<!doctype html>"),
    "JSON": (200, {"Content-Type": "application/json"}, b'{"version":"1"}'),
    "nothing": (200, {}, b""),
    "sign-in": (403, HTML, b"<html>Sign in</html>"),
    "not found": (404, HTML, b"<html>Not found</html>"),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("case", NO_STORES)
def test_what_is_no_store_is_told_from_one(proxied, proxy, case, name):
    """Whatever it is asked: a write that a web console answers with 200 has not been written."""
    proxy.say = NO_STORES[case]
    line = failure(proxied, name)
    assert "this is no endpoint of S3; allowed in RLNAS_STORE_ENDPOINT: " in line
    assert f"(HTTP {proxy.say[0]})" in line
    assert sum(proxied.requests.values()) == 1


def test_a_page_of_a_proxy_is_waited_out(proxied, proxy):
    proxy.say = (502, HTML, b"<html>Bad gateway</html>")
    assert "HTTP 502 with a web page: see what stands before the store" in failure(proxied, "create")
    assert proxied.requests["PUT"] >= 3


def test_a_page_may_be_an_object(bucket, proxied, proxy):
    proxy.say = (200, HTML | {"ETag": '"1"', "x-amz-request-id": "1"}, b"<html></html>")
    assert proxied.get("page.html").data == b"<html></html>"


ACTIONS = {
    "get": "s3:GetObject on {}/some/key",
    "create": "s3:PutObject on {}/some/key",
    "replace": "s3:PutObject on {}/some/key",
    "put": "s3:PutObject on {}/some/key",
    "list": "s3:ListBucket on {}",
    "folders": "s3:ListBucket on {}",
    "delete": "s3:DeleteObject on {}/some/key",
}


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """A real server with keys that may read, others that may write, and none that may do the rest."""

    class Narrow(EmbeddedStore):
        def _write(self, name, content):
            for who in ("Read", "Write") if name == "store.s3.json" else ():
                keys = {"accessKey": f"planted-{who}-key", "secretKey": f"planted-{who}-secret"}
                content["identities"].append({"name": who, "credentials": [keys], "actions": [who]})
            super()._write(name, content)

    store = Narrow(tmp_path_factory.mktemp("narrow"))
    settings = store.start()
    Bucket(settings).ensure()
    yield lambda who: Bucket(
        replace(settings, access_key=f"planted-{who}-key", secret_key=f"planted-{who}-secret"), patience=1
    )
    store.stop()


@pytest.mark.parametrize("name", ACTIONS)
def test_denied_access_says_what_was_denied(narrow, name):
    bucket = narrow("Write" if name == "get" else "Read")
    line = failure(bucket, name)
    needed = ACTIONS[name].format(bucket.settings.bucket)
    assert f"access denied, check the keys and whether they may do {needed} (AccessDenied: Access Denied.)" in line
    assert ("keys without s3:ListBucket are denied objects that are not there, too" in line) == (name == "get")


def test_a_bucket_that_may_not_be_made_says_so(narrow):
    bucket = Bucket(replace(narrow("Read").settings, bucket="not-there-yet"))
    assert "cannot create the bucket" in (line := failure(bucket, "ensure"))
    assert "s3:CreateBucket on not-there-yet" in line


def test_the_other_ports_of_a_store_are_none_of_its(store_settings):
    """Of SeaweedFS: master, volumes, filer, admin."""
    first = int(store_settings.endpoint.rpartition(":")[2]) - SERVICES.index("s3")
    for at, service in enumerate(SERVICES):
        if service != "s3":
            bucket = Bucket(replace(store_settings, endpoint=f"127.0.0.1:{first + at}"), patience=0)
            for name in OPERATIONS:
                assert re.search(r"no endpoint of S3|is this an S3 store\?", failure(bucket, name)), (service, name)


def test_words_of_a_store_hold_no_credential(proxied, proxy):
    """Whatever it says of the request: some repeat the key, the signature, the whole address."""
    settings = proxied.settings
    words = f"key {settings.access_key} {settings.secret_key} at /b/k?X-Amz-Signature=0123abcd&amp;X-Amz-Expires=3600"
    for code in ("AccessDenied", "SignatureDoesNotMatch", "Odd"):
        proxy.say = (403, XML, ERROR.format(code, words, "").encode())
        assert "0123abcd" not in failure(proxied, "put")
        assert "key ***" in failure(proxied, "list")


def test_other_causes_in_words(bucket, proxied, proxy):
    proxy.answer = [507] * 50
    assert "no space left in the store" in failure(proxied, "create")
    proxy.answer = [301]
    assert "in another region, or at another address" in failure(proxied, "list")
    proxy.answer = [501]
    assert "HTTP 501" in failure(proxied, "create")
    proxy.answer = [404]
    assert "is this an S3 store?" in failure(proxied, "get")
    proxy.answer = []
    for name in ("get", "list"):
        missing = Bucket(replace(bucket.settings, bucket="nowhere"))
        assert "the bucket does not exist" in failure(missing, name)


def test_signed_addresses_are_not_logged(bucket, caplog):
    caplog.set_level(logging.DEBUG)
    bucket.create("key", b"x")
    bucket.list("")
    assert bucket.settings.access_key not in caplog.text
    assert "X-Amz-" not in caplog.text


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the program openssl to make a certificate")
def test_tls_trusts_the_named_authority_only(bucket, tmp_path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=store -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with FaultyProxy(bucket.settings.endpoint, tls=context) as proxy:
        secure = replace(bucket.settings, endpoint=proxy.endpoint, secure=True)
        Bucket(replace(secure, ca_file=str(certificate))).probe()
        stranger = Bucket(secure)
        assert "the TLS certificate is not trusted" in failure(stranger, "get")
        assert stranger.requests == {"GET": 1}


def test_a_store_that_takes_connections_and_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(module, "SHORTEST_READ", 0.2)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(50)
        endpoint = f"127.0.0.1:{mute.getsockname()[1]}"
        bucket = Bucket(StoreSettings(endpoint, access_key="a", secret_key="b"), patience=0.1)
        with pytest.raises(StoreError, match="no answer in time"):
            bucket.get("a")
    assert bucket.requests["GET"] == 3
