"""YAML of a person: what is there twice is refused, with both lines; all else is as PyYAML has it."""

import pytest
import yaml

from rlnas.errors import UserError
from rlnas.yaml_text import read_yaml

ANCHORS = """
base: &base {epochs: 3, batch: 8}
more: &more
  seed: 1
child:
  <<: *base
  epochs: 5
several:
  <<: [*base, *more]
again: [*base, *base]
"""


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: 1\nb: 2\na: 3\n", "a is there twice, in line 1 and in line 3; allowed: once"),
        ("loop:\n  children: 64\n  children: 12800\n", "loop.children is there twice, in line 2 and in line 3"),
        ("loop:\n  children: 64\nseed: 1\nloop:\n  window: 2\n", "loop is there twice, in line 1 and in line 4"),
        ("a:\n- b: 1\n- c: 1\n  c: 1\n", "a.1.c is there twice, in line 3 and in line 4"),
        ("a: {b: {c: 1,\n c: 2}}", "a.b.c is there twice, in line 1 and in line 2"),
        ('{"a": 1,\n "a": 1}', "a is there twice, in line 1 and in line 2"),
        ("a: 1\n'a': 2\n", "a is there twice"),
        ("1: a\n0x1: b\n", "0x1 is there twice"),
        ("1: a\ntrue: b\n", "true is there twice"),
        ("x: &x {a: 1}\ny: &y {a: 2}\nz:\n  <<: *x\n  <<: *y\n", "z.<< is there twice, in line 4 and in line 5"),
        ("a: &a {b: 1, b: 2}\nc: *a\n", "a.b is there twice, in line 1 and in line 1"),
    ],
)
def test_a_key_that_is_there_twice_is_refused(text, where):
    with pytest.raises(UserError) as caught:
        read_yaml(text)
    assert str(caught.value).startswith(where)


@pytest.mark.parametrize("text", ["", "null", "a: 1", "[1, {a: 2}]", "=: 1", "2001-01-01: 1\n2001-01-02: 2", ANCHORS])
def test_all_else_is_as_it_was(text):
    assert read_yaml(text) == yaml.safe_load(text)


def test_an_override_of_what_is_merged_stays_one():
    found = read_yaml(ANCHORS)
    assert found["child"] == {"epochs": 5, "batch": 8}
    assert found["several"] == {"epochs": 3, "batch": 8, "seed": 1}


def test_a_mapping_that_holds_itself_ends():
    found = read_yaml("&a {b: *a}")
    assert found["b"] is found


def test_text_is_read_in_its_own_encoding_whatever_the_locale():
    assert read_yaml("ä: ö".encode()) == read_yaml("ä: ö".encode("utf-16")) == {"ä": "ö"}


@pytest.mark.parametrize("text", ["a: [", "? {a: 1} : 2\n[", "a: 1\n---\nb: 2", "{? [1, 2] : 3}", "\0"])
def test_what_is_no_yaml_is_one_line(text):
    with pytest.raises(UserError, match=r"^not YAML: [^\n]*$"):
        read_yaml(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 010", "seed: 010, in line 1, is 8 in YAML"),
        ("a: 1\nloop: {children: [1, 064]}", "loop.children.1: 064, in line 2, is 52 in YAML"),
        ("limit: 1:30", "limit: 1:30, in line 1, is 90 in YAML"),
    ],
)
def test_a_number_that_is_another_than_it_seems_is_refused(text, words):
    with pytest.raises(UserError) as caught:
        read_yaml(text)
    assert str(caught.value) == f"{words}; allowed: no leading 0, no colon"


def test_numbers_that_are_what_they_seem():
    text = "[0, 10, -3, 1_000, 0x1f, 0.5, 00:a, '010', 1e-3, 08]"
    assert read_yaml(text) == [0, 10, -3, 1000, 31, 0.5, "00:a", "010", "1e-3", "08"]
