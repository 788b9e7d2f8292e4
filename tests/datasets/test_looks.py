"""Looks at files are kept, and are never trusted too far."""

import json
import os
import shutil
import sqlite3
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from PIL import Image

from rlnas.datasets import cache, looks
from rlnas.datasets.looks import look_at
from rlnas.errors import UserError


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """What this process remembers is forgotten, so that the file is read."""
    monkeypatch.setattr(cache, "_remembered", {})


@pytest.fixture
def files(tmp_path):
    """Three images that have not changed for an hour."""
    folder = tmp_path / "images"
    folder.mkdir()
    paths = [str(folder / f"{number}.png") for number in range(3)]
    for number, path in enumerate(paths):
        Image.new("RGB", (8, 8), (number, 7, 90)).save(path)
        an_hour_ago(path)
    return paths


def an_hour_ago(path):
    os.utime(path, (time.time() - 3600,) * 2)


@pytest.fixture
def decoded(monkeypatch):
    """The files that are decoded, as they are."""
    names, real = [], looks.decode

    def decode(file, name, *args):
        names.append(os.path.basename(name))
        return real(file, name, *args)

    monkeypatch.setattr(looks, "decode", decode)
    return names


def look(files, *ways):
    return look_at(os.path.dirname(files[0]), files, *(ways or ("white", None)))


def test_a_second_look_decodes_nothing(files, decoded):
    first = look(files)
    assert [(seen.plain, seen.brightest, seen.transparent) for seen in first] == [(True, 90, False)] * 3
    cache._remembered.clear()
    assert look(files) == first
    assert sorted(decoded) == ["0.png", "1.png", "2.png"]


def test_what_has_changed_is_looked_at_again(files, decoded, tmp_path):
    first = look(files)
    decoded.clear()
    Image.new("RGB", (8, 8), (200, 0, 0)).save(files[1])
    an_hour_ago(files[1])
    assert [now.digest == then.digest for now, then in zip(look(files), first, strict=True)] == [True, False, True]
    assert decoded == ["1.png"]
    decoded.clear()
    times = os.stat(files[2])
    with open(files[2], "r+b") as file:  # rewritten in place, of the same size, its time put back
        content = file.read()
        file.seek(0)
        file.write(content)
    os.utime(files[2], ns=(times.st_atime_ns, times.st_mtime_ns))
    look(files)
    assert decoded == ["2.png"]


def test_other_ways_to_decode_are_another_look(files, decoded):
    look(files)
    look(files, "black", None)
    look(files, "black", 4095)
    assert len(decoded) == 9


def test_a_file_that_changed_just_now_is_not_kept(files, decoded):
    os.utime(files[0])
    look(files), look(files)
    assert sorted(decoded) == ["0.png", "0.png", "1.png", "2.png"]


def test_a_wrong_file_is_looked_at_until_it_is_mended(files, decoded):
    with open(files[1], "rb") as file:
        good = file.read()
    for content in (b"", b"", good):
        with open(files[1], "wb") as file:
            file.write(content)
        an_hour_ago(files[1])
        if content:
            look(files)
        else:
            with pytest.raises(UserError, match=r"cannot read the image .*1\.png"):
                look(files)
    assert sorted(decoded) == ["0.png", "1.png", "1.png", "1.png", "2.png"]


def test_a_file_that_is_gone_is_named(files):
    look(files)
    os.remove(files[1])
    with pytest.raises(UserError, match=r"dataset: cannot read .*1\.png: No such file"):
        look(files)


def damage_all(path):
    path.write_bytes(b"no database" * 1000)


def damage_a_page(path):
    content = bytearray(path.read_bytes())
    content[4096:] = b"x" * len(content[4096:])
    path.write_bytes(content)


def damage_the_notes(path):
    with sqlite3.connect(path) as table:
        table.execute("UPDATE files SET learnt = ?", (json.dumps([1, 2]),))


def other_columns(path):
    path.unlink()
    with sqlite3.connect(path) as table:
        table.execute("CREATE TABLE files (name TEXT)")


@pytest.mark.parametrize("damage", [damage_all, damage_a_page, damage_the_notes, other_columns])
def test_a_damaged_cache_does_no_harm(files, cache_home, damage):
    first = look(files)
    cache._remembered.clear()
    damage(cache_home / "rlnas/files.sqlite")
    assert look(files) == first
    assert look(files) == first


def test_a_damaged_cache_is_begun_anew(files, cache_home, decoded):
    look(files)
    damage_all(cache_home / "rlnas/files.sqlite")
    for _ in range(3):
        cache._remembered.clear()
        look(files)
    assert len(decoded) in (6, 9)  # again once; once more if its notes met what was still damaged
    decoded.clear()
    cache._remembered.clear()
    look(files)
    assert decoded == []


def test_where_nothing_can_be_written_the_process_remembers(files, monkeypatch, tmp_path, decoded):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert look(files) == look(files)
    assert len(decoded) == 3


def test_without_a_home_the_process_remembers(files, monkeypatch, decoded):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(cache.Path, "home", no_home)
    assert look(files) == look(files)
    assert len(decoded) == 3


def test_processes_share_one_cache(files, cache_home):
    first = look(files)
    shutil.rmtree(cache_home / "rlnas")
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        results = [pool.submit(look, files) for _ in range(8)]
        assert all(result.result() == first for result in results)
    with sqlite3.connect(cache_home / "rlnas/files.sqlite") as table:
        assert table.execute("SELECT count(*) FROM files").fetchone() == (3,)
        assert table.execute("PRAGMA integrity_check").fetchone() == ("ok",)
