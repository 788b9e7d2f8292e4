"""`rlnas metrics`: a process of its own, asked over HTTP, stopped by a signal."""

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from searches import make_spec, run

from rlnas.state import Bucket


def test_it_serves_until_it_is_stopped(bucket: Bucket, rlnas: Any) -> None:
    ledger = run(bucket.settings, make_spec())
    command = [sys.executable, "-m", "rlnas.cli", "metrics", ledger.name, "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = process.stdout.readline() + process.stdout.readline()
        (address,) = set(re.findall(r"http://127\.0\.0\.1:\d+/metrics", said))
        assert f"metrics of search {ledger.name}: {address}" in said
        with urllib.request.urlopen(address) as answer:
            assert f'rlnas_children{{search="{ledger.name}",state="ok"}} 4.0' in answer.read().decode()
    finally:
        process.send_signal(signal.SIGTERM)
        rest, complaint = process.communicate()
    assert (process.returncode, rest, complaint) == (130, "", "rlnas: stopped\n")
    for secret in (bucket.settings.access_key, bucket.settings.secret_key):
        assert secret not in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("none",), "no search 'none' in the store; `rlnas list` shows what there is"),
        (("No",), "name: 'No' cannot name a search; allowed: "),
        (("mine", "--listen", "9090"), "--listen: '9090' is no address; allowed: HOST:PORT, or :PORT"),
        (("mine", "--listen", "256.0.0.1:9090"), "--listen: cannot listen at 256.0.0.1:9090: "),
    ],
)
def test_wrong_use_is_one_line(bucket: Bucket, rlnas: Any, options: tuple[str, ...], said: str) -> None:
    run(bucket.settings, make_spec().model_copy(update={"name": "mine"}))
    status, out, err = rlnas("metrics", *options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"rlnas: {said}")
    assert not Path(".rlnas/logs").exists()
