"""API keys: what a line says, what is refused, which keys are valid, and that no secret is kept or logged."""

from __future__ import annotations

import logging
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.auth.keys import (
    MAX_KEYS,
    Access,
    Key,
    KeysError,
    KeyStore,
    digest_of,
    new_key,
    parse_keys,
    require_keys_or_open,
)
from vaegis.service.errors import SettingsError
from vaegis.service.reloaded_files import CHECK_INTERVAL_S

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


def test_line_has_name_scopes_hash_and_optional_rate():
    text = f"# whose\n\npipeline  score,model {HASH} 2500 # until May\r\ngrafana metrics {OTHER_HASH}\n"
    pipeline, grafana = parse_keys(text, "keys.txt")
    assert pipeline == Key("pipeline", frozenset({Access.SCORE, Access.MODEL}), bytes.fromhex("ab" * 32), 2500.0)
    assert grafana == Key("grafana", frozenset({Access.METRICS}), bytes.fromhex("cd" * 32), None)


@given(st.lists(keys, min_size=1, max_size=5, unique_by=(lambda key: key.name, lambda key: key.digest)))
def test_line_of_a_key_parses_to_that_key(made):
    assert parse_keys("\n".join(key.line() for key in made), "keys.txt") == tuple(made)


def test_new_key_has_256_random_bits_and_a_known_prefix():
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
        ("4711", "k, line 1: expected a name, scopes, a hash and optionally records per second, got 1 words"),
        (f"\na score {HASH} 1 4711", "k, line 2: expected a name, .* got 5 words"),
        (f"4711/ score {HASH}", "k, line 1: name: expected 1 to 64 letters, digits, .* got something else"),
        (f"{'a' * 65} score {HASH}", "k, line 1: name: expected"),
        (f"a 4711 {HASH}", "k, line 1: scopes: expected one or more of score,model,metrics,admin, separated by commas"),
        (f"a score, {HASH}", "k, line 1: scopes: expected"),
        ("a score 4711", "k, line 1: hash: expected sha256: and 64 hexadecimal digits, got something else"),
        (f"a score {HASH.upper()}", "k, line 1: hash: expected"),
        (f"a score {HASH}0", "k, line 1: hash: expected"),
        (f"a score {HASH} 4711x", "k, line 1: records per second: expected 0.001 to 1e\\+07, got something else"),
        (f"a score {HASH} 0", "k, line 1: records per second: expected"),
        (f"a score {HASH} inf", "k, line 1: records per second: expected"),
        (f"a score {HASH} nan", "k, line 1: records per second: expected"),
        (f"a score {HASH}\na model {OTHER_HASH}", "k, line 2: the name or hash repeats that of an earlier line"),
        (f"a score {HASH}\nb score {HASH}", "k, line 2: the name or hash repeats that of an earlier line"),
    ],
)
def test_bad_line_is_refused_by_number_and_never_quoted(text, message):
    with pytest.raises(KeysError, match=f"^{message}") as refused:
        parse_keys(text, "k")
    assert "4711" not in str(refused.value)


def test_the_number_of_keys_is_bounded():
    lines = [f"k{i} score sha256:{i:064x}" for i in range(MAX_KEYS + 1)]
    assert len(parse_keys("\n".join(lines[:-1]), "k")) == MAX_KEYS
    with pytest.raises(KeysError, match="expected 1 to 1000 keys, got 1001"):
        parse_keys("\n".join(lines), "k")


def line(name: str, secret: bytes) -> str:
    return f"{name} score sha256:{digest_of(secret).hex()}\n"


def parsed(*pairs: tuple[str, bytes]) -> tuple[Key, ...]:
    return parse_keys("".join(line(*pair) for pair in pairs), "here")


class Clock:
    """A time that moves when told to."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


class Reloading:
    """A key store over a file, and the outcomes of its reloads."""

    def __init__(self, file, inline: tuple[Key, ...] = ()) -> None:
        self.clock, self.outcomes = Clock(), []
        self.key_store = KeyStore(inline, file, on_reload=self.outcomes.append, now=self.clock)

    def found_after(self, seconds: float, secret: bytes) -> str | None:
        self.clock.at += seconds
        key = self.key_store.find(secret)
        return key and key.name


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "keys.txt"
    path.write_text(line("old", b"1"))
    path.chmod(0o600)
    return path


def test_only_the_given_keys_are_valid():
    key_store = KeyStore(parsed(("old", b"1"), ("new", b"2")))
    assert [key and key.name for key in map(key_store.find, (b"1", b"2", b"3", b""))] == ["old", "new", None, None]


def test_changed_file_is_reloaded_after_the_check_interval(file):
    ring = Reloading(file)
    file.write_text(line("new", b"22"))
    assert ring.found_after(CHECK_INTERVAL_S / 2, b"22") is None
    assert ring.found_after(CHECK_INTERVAL_S / 2, b"22") == "new"
    assert ring.found_after(0, b"1") is None
    assert ring.outcomes == ["succeeded"]


def test_removed_key_is_no_longer_valid(file):
    file.write_text(line("old", b"1") + line("new", b"2"))
    ring = Reloading(file)
    assert ring.found_after(0, b"1") == "old"
    file.write_text(line("new", b"2"))
    assert ring.found_after(CHECK_INTERVAL_S, b"1") is None
    assert ring.found_after(0, b"2") == "new"


@pytest.mark.parametrize("broken", [b"", b"old score", b"\xff", b"x" * (2**20 + 1), "absent", "named pipe"])
def test_unreadable_file_keeps_the_old_keys_and_is_logged_once(file, broken, caplog):
    ring = Reloading(file)
    if isinstance(broken, bytes):
        file.write_bytes(broken)
    else:
        file.unlink()
    if broken == "named pipe":
        os.mkfifo(file)
    with caplog.at_level(logging.ERROR, logger="vaegis.keys"):
        assert ring.found_after(CHECK_INTERVAL_S, b"1") == "old"
        assert ring.found_after(CHECK_INTERVAL_S, b"1") == "old"
    assert ring.outcomes == ["failed"]
    (entry,) = caplog.records
    assert str(file) in entry.fields["reason"]
    file.unlink(missing_ok=True)
    file.write_text(line("new", b"2"))
    assert ring.found_after(CHECK_INTERVAL_S, b"2") == "new"
    assert ring.outcomes == ["failed", "succeeded"]


def test_unreadable_file_is_tried_again_until_it_can_be_read(file, monkeypatch):
    file.write_text(line("old", b"1") + line("kept", b"2"))
    ring = Reloading(file)
    file.write_text(line("kept", b"2"))

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", denied)  # as where root wrote it and the service runs as another user
        assert [ring.found_after(CHECK_INTERVAL_S, b"1") for _ in range(3)] == ["old"] * 3
    assert ring.found_after(CHECK_INTERVAL_S, b"1") is None
    assert ring.found_after(0, b"2") == "kept"
    assert ring.outcomes == ["failed", "succeeded"]


def test_change_of_equal_size_and_mtime_is_a_change(file):
    ring = Reloading(file)
    before = file.stat()
    with file.open("r+") as opened:
        opened.write(line("new", b"2"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert ring.found_after(CHECK_INTERVAL_S, b"1") is None
    assert ring.found_after(0, b"2") == "new"


def test_link_to_another_file_is_a_change(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(line(name, name.encode()))
        os.utime(tmp_path / name, (1, 1))
    link = tmp_path / "keys.txt"
    link.symlink_to(tmp_path / "a")
    ring = Reloading(link)
    link.unlink()
    link.symlink_to(tmp_path / "b")
    assert ring.found_after(CHECK_INTERVAL_S, b"b") == "b"


def test_only_a_touched_file_is_reloaded(file):
    ring = Reloading(file)
    assert ring.found_after(CHECK_INTERVAL_S, b"1") == "old"
    assert ring.outcomes == []
    os.utime(file, (1, 1))
    assert ring.found_after(CHECK_INTERVAL_S, b"1") == "old"
    assert ring.outcomes == ["succeeded"]


def test_keys_of_the_environment_survive_a_reload(file):
    ring = Reloading(file, parsed(("fixed", b"9")))
    file.write_text(line("new", b"2"))
    assert ring.found_after(CHECK_INTERVAL_S, b"9") == "fixed"
    assert ring.found_after(0, b"2") == "new"


@pytest.mark.parametrize("pair", [("old", b"9"), ("other", b"1")])
def test_name_or_hash_in_file_and_environment_is_refused(file, pair):
    with pytest.raises(KeysError, match="old: its name or hash is also in VAEGIS_KEYS"):
        KeyStore(parsed(pair), file)


def test_missing_file_is_refused_at_the_start(tmp_path):
    with pytest.raises(KeysError, match=r"none: cannot be read: No such file"):
        KeyStore((), tmp_path / "none")


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True), (0o660, True)])
def test_warns_of_a_file_that_others_can_read_or_change(file, caplog, mode, warned):
    file.chmod(mode)
    with caplog.at_level(logging.WARNING, logger="vaegis.keys"):
        KeyStore((), file)
    assert [record.fields["mode"] for record in caplog.records] == ([f"{mode:o}"] if warned else [])


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_address_needs_no_keys(address):
    require_keys_or_open(address, has_keys=False, is_open=False)


@pytest.mark.parametrize(
    "address", ["0.0.0.0", "::", "10.0.0.1", "192.168.1.1", "fe80::1", "fe80::1%2", "2001:db8::1", "128.0.0.1"]
)
def test_other_address_needs_keys_or_open(address):
    with pytest.raises(SettingsError, match=r"--keys-file FILE .* --open"):
        require_keys_or_open(address, has_keys=False, is_open=False)
    require_keys_or_open(address, has_keys=True, is_open=False)
    require_keys_or_open(address, has_keys=False, is_open=True)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_keys_and_open_together_are_refused(address):
    with pytest.raises(SettingsError, match="not allowed when keys are set"):
        require_keys_or_open(address, has_keys=True, is_open=True)
