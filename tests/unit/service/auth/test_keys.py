"""Keys: what a line of a file says, what is refused, and that nothing secret is kept or told."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.auth.keys import MAX_KEYS, Access, Key, KeysError, digest_of, new_key, parse_keys

HASH = "sha256:" + "ab" * 32
OTHER_HASH = "sha256:" + "cd" * 32

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
keys = st.builds(
    Key,
    name=names,
    scopes=st.frozensets(st.sampled_from(Access), min_size=1),
    digest=st.binary(min_size=32, max_size=32),
    records_per_s=st.none() | st.floats(0.001, 1e7).map(lambda rate: float(f"{rate:.15g}")),
)


def test_a_line_has_a_name_scopes_a_hash_and_perhaps_a_rate():
    text = f"# whose\n\npipeline  score,model {HASH} 2500 # until May\r\ngrafana metrics {OTHER_HASH}\n"
    pipeline, grafana = parse_keys(text, "keys.txt")
    assert pipeline == Key("pipeline", frozenset({Access.SCORE, Access.MODEL}), bytes.fromhex("ab" * 32), 2500.0)
    assert grafana == Key("grafana", frozenset({Access.METRICS}), bytes.fromhex("cd" * 32), None)


@given(st.lists(keys, min_size=1, max_size=5, unique_by=(lambda key: key.name, lambda key: key.digest)))
def test_the_line_of_a_key_is_read_as_that_key(made):
    assert parse_keys("\n".join(key.line() for key in made), "keys.txt") == tuple(made)


def test_a_new_key_has_256_random_bits_and_a_prefix_that_scanners_know():
    first, second = new_key(), new_key()
    assert re.fullmatch(r"vaegis_[A-Za-z0-9_-]{43}", first)
    assert first != second


def test_a_key_shows_neither_itself_nor_its_hash():
    (key,) = parse_keys(f"a score sha256:{digest_of(b'secret').hex()}", "keys.txt")
    assert digest_of(b"secret").hex() not in repr(key)
    assert repr(digest_of(b"secret")) not in repr(key)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "k: expected 1 to 1000 keys, got 0"),
        ("# nobody", "k: expected 1 to 1000 keys, got 0"),
        ("4711", "k, line 1: expected a name, scopes, a hash and perhaps records a second, got 1 words"),
        (f"\na score {HASH} 1 4711", "k, line 2: expected a name, .* got 5 words"),
        (f"4711/ score {HASH}", "k, line 1: name: expected 1 to 64 letters, digits, .* got something else"),
        (f"{'a' * 65} score {HASH}", "k, line 1: name: expected"),
        (f"a 4711 {HASH}", "k, line 1: scopes: expected one or more of score,model,metrics, separated by commas"),
        (f"a score, {HASH}", "k, line 1: scopes: expected"),
        ("a score 4711", "k, line 1: hash: expected sha256: and 64 hexadecimal digits, got something else"),
        (f"a score {HASH.upper()}", "k, line 1: hash: expected"),
        (f"a score {HASH}0", "k, line 1: hash: expected"),
        (f"a score {HASH} 4711x", "k, line 1: records a second: expected 0.001 to 1e\\+07, got something else"),
        (f"a score {HASH} 0", "k, line 1: records a second: expected"),
        (f"a score {HASH} inf", "k, line 1: records a second: expected"),
        (f"a score {HASH} nan", "k, line 1: records a second: expected"),
        (f"a score {HASH}\na model {OTHER_HASH}", "k, line 2: the name or hash repeats that of an earlier line"),
        (f"a score {HASH}\nb score {HASH}", "k, line 2: the name or hash repeats that of an earlier line"),
    ],
)
def test_what_is_no_key_is_refused_by_its_line_and_never_quoted(text, message):
    with pytest.raises(KeysError, match=f"^{message}") as refused:
        parse_keys(text, "k")
    assert "4711" not in str(refused.value)


def test_the_number_of_keys_is_bounded():
    lines = [f"k{i} score sha256:{i:064x}" for i in range(MAX_KEYS + 1)]
    assert len(parse_keys("\n".join(lines[:-1]), "k")) == MAX_KEYS
    with pytest.raises(KeysError, match="expected 1 to 1000 keys, got 1001"):
        parse_keys("\n".join(lines), "k")
