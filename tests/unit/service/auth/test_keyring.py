"""The keys in force: found by their hash, all compared, and read again when their file changes."""

from __future__ import annotations

import hmac
import logging
import os

import pytest

from vaegis.service.auth import keyring as module
from vaegis.service.auth.keyring import CHECK_INTERVAL_S, Keyring
from vaegis.service.auth.keys import Key, KeysError, digest_of, parse_keys


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
    """A keyring over a file, and what it told."""

    def __init__(self, file, inline: tuple[Key, ...] = ()) -> None:
        self.clock, self.outcomes = Clock(), []
        self.keyring = Keyring(inline, file, on_reload=self.outcomes.append, now=self.clock)

    def found_after(self, seconds: float, secret: bytes) -> str | None:
        self.clock.at += seconds
        key = self.keyring.find(secret)
        return key and key.name


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "keys.txt"
    path.write_text(line("old", b"1"))
    path.chmod(0o600)
    return path


def test_each_of_several_keys_is_valid_and_no_other():
    keyring = Keyring(parsed(("old", b"1"), ("new", b"2")))
    for _ in range(2):  # the second time from memory
        assert [key and key.name for key in map(keyring.find, (b"1", b"2", b"3", b""))] == ["old", "new", None, None]


@pytest.mark.parametrize("presented", [b"1", b"2", b"3", b"unknown"])
def test_every_key_is_compared_in_constant_time_wherever_the_right_one_stands(monkeypatch, presented):
    compared = []

    def counting(first: bytes, second: bytes) -> bool:
        compared.append(first)
        return hmac.compare_digest(first, second)

    keys = parsed(("a", b"1"), ("b", b"2"), ("c", b"3"))
    monkeypatch.setattr(module, "compare_digest", counting)
    Keyring(keys).find(presented)
    assert compared == [key.digest for key in keys]


def test_what_is_remembered_is_bounded_by_the_number_of_keys():
    keyring = Keyring(parsed(("a", b"1"), ("b", b"2")))
    for number in range(100):
        keyring.find(b"%d" % number)
    assert len(keyring._found) == 2


def test_a_changed_file_is_read_again_but_looked_at_once_a_second_at_most(file):
    ring = Reloading(file)
    file.write_text(line("new", b"22"))
    assert ring.found_after(CHECK_INTERVAL_S / 2, b"22") is None
    assert ring.found_after(CHECK_INTERVAL_S / 2, b"22") == "new"
    assert ring.found_after(0, b"1") is None
    assert ring.outcomes == ["succeeded"]


def test_a_removed_key_is_no_longer_valid_although_it_was_remembered(file):
    file.write_text(line("old", b"1") + line("new", b"2"))
    ring = Reloading(file)
    assert ring.found_after(0, b"1") == "old"
    file.write_text(line("new", b"2"))
    assert ring.found_after(CHECK_INTERVAL_S, b"1") is None
    assert ring.found_after(0, b"2") == "new"


@pytest.mark.parametrize("broken", [b"", b"old score", b"\xff", b"x" * (2**20 + 1), None])
def test_a_file_that_cannot_be_read_keeps_the_keys_before_and_is_told_once(file, broken, caplog):
    ring = Reloading(file)
    if broken is None:
        file.unlink()
    else:
        file.write_bytes(broken)
    with caplog.at_level(logging.ERROR, logger="vaegis.keys"):
        assert ring.found_after(CHECK_INTERVAL_S, b"1") == "old"
        assert ring.found_after(CHECK_INTERVAL_S, b"1") == "old"
    assert ring.outcomes == ["failed"]
    (told,) = caplog.records
    assert str(file) in told.fields["reason"]
    file.write_text(line("new", b"2"))
    assert ring.found_after(CHECK_INTERVAL_S, b"2") == "new"
    assert ring.outcomes == ["failed", "succeeded"]


def test_a_link_that_leads_elsewhere_is_a_change(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(line(name, name.encode()))
        os.utime(tmp_path / name, (1, 1))
    link = tmp_path / "keys.txt"
    link.symlink_to(tmp_path / "a")
    ring = Reloading(link)
    link.unlink()
    link.symlink_to(tmp_path / "b")
    assert ring.found_after(CHECK_INTERVAL_S, b"b") == "b"


def test_a_touched_file_is_read_again_and_an_untouched_one_is_not(file):
    ring = Reloading(file)
    assert ring.found_after(CHECK_INTERVAL_S, b"1") == "old"
    assert ring.outcomes == []
    os.utime(file, (1, 1))
    assert ring.found_after(CHECK_INTERVAL_S, b"1") == "old"
    assert ring.outcomes == ["succeeded"]


def test_keys_of_the_environment_stay_beside_those_of_the_file(file):
    ring = Reloading(file, parsed(("fixed", b"9")))
    file.write_text(line("new", b"2"))
    assert ring.found_after(CHECK_INTERVAL_S, b"9") == "fixed"
    assert ring.found_after(0, b"2") == "new"


@pytest.mark.parametrize("pair", [("old", b"9"), ("other", b"1")])
def test_a_name_or_a_hash_in_both_places_is_refused(file, pair):
    with pytest.raises(KeysError, match="old: its name or hash is also in VAEGIS_KEYS"):
        Keyring(parsed(pair), file)


def test_a_file_that_is_not_there_at_the_start_is_refused(tmp_path):
    with pytest.raises(KeysError, match=r"none: cannot be read: No such file"):
        Keyring((), tmp_path / "none")


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True), (0o660, True)])
def test_a_file_that_others_may_read_or_change_is_warned_of(file, caplog, mode, warned):
    file.chmod(mode)
    with caplog.at_level(logging.WARNING, logger="vaegis.keys"):
        Keyring((), file)
    assert [record.fields["mode"] for record in caplog.records] == ([f"{mode:o}"] if warned else [])
