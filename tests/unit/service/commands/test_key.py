"""`vaegis key`: the line goes where it can be appended, the key goes to the eye alone."""

from __future__ import annotations

import re

import pytest

from vaegis.service.auth.keys import Access, KeyStore


def test_the_line_makes_the_key_valid(vaegis, tmp_path):
    made = vaegis("key", "pipeline-2024", "--scopes", "score,model", "--records-per-s", "2500")
    assert made.code == 0
    shown = re.fullmatch(r"the key, shown only now: (vaegis_\S{43})\n", made.err)
    file = tmp_path / "keys.txt"
    file.write_text(made.out)
    key = KeyStore((), file).find(shown[1].encode())
    assert (key.name, key.scopes, key.records_per_s) == ("pipeline-2024", {Access.SCORE, Access.MODEL}, 2500)
    assert shown[1] not in made.out


def test_a_key_is_for_scoring_alone_unless_told_otherwise(vaegis):
    assert re.fullmatch(r"a score sha256:[0-9a-f]{64}\n", vaegis("key", "a").out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a b",), "name: expected 1 to 64 letters"),
        (("a", "--scopes", "owner"), "scopes: expected one or more of score,model,metrics,admin"),
        (("a", "--records-per-s", "0"), "records per second: expected 0.001 to 1e+07"),
    ],
)
def test_what_no_line_could_say_ends_with_2_and_no_key(vaegis, arguments, message):
    ended = vaegis("key", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"vaegis: error: {message}")
