"""What a worker and its parent tell each other."""

from __future__ import annotations

import socket

import pytest

from vaegis.service.errors import AddressError, AlphaError, ArtifactError, ServiceError, SettingsError
from vaegis.service.http.workers.channel import Channel, heard_error, told_error


@pytest.fixture
def ends():
    here, there = map(Channel, socket.socketpair())
    yield here, there
    here.close()
    there.close()


def test_messages_come_whole_and_beats_are_nothing_but_a_sign(ends):
    here, there = ends
    here.beat()
    here.tell({"model": "a\nb"})
    here.beat()
    here.tell({"worker": 1})
    heard = []
    while len(heard) < 2:
        heard += there.hear()
    assert heard == [{"model": "a\nb"}, {"worker": 1}]
    here.beat()
    assert there.hear() == []


def test_the_end_of_one_side_is_heard_at_the_other(ends):
    here, there = ends
    here.close()
    assert there.hear() is None
    there.tell({"nobody": "hears"})
    there.beat()


def test_a_side_that_does_not_listen_holds_no_beat_up(ends):
    here, _ = ends
    for _ in range(100_000):
        here.beat()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ArtifactError("a"), ArtifactError),
        (SettingsError("a"), SettingsError),
        (AlphaError("a", 5), SettingsError),
        (AddressError("a"), ServiceError),
    ],
)
def test_an_error_keeps_its_message_and_what_decides_on_the_exit_code(error, kind):
    heard = heard_error(told_error(error))
    assert (type(heard), str(heard)) == (kind, "a")
