"""Messages between a worker and its parent."""

from __future__ import annotations

import socket

import pytest

from vaegis.service.errors import AddressError, AlphaError, ArtifactError, ServiceError, SettingsError
from vaegis.service.workers.channel import Channel, failure_message, failure_of


@pytest.fixture
def ends():
    here, there = map(Channel, socket.socketpair())
    yield here, there
    here.close()
    there.close()


def test_messages_come_whole_and_beats_are_nothing_but_a_sign(ends):
    here, there = ends
    here.beat()
    here.send({"model": "a\nb"})
    here.beat()
    here.send({"worker": 1})
    received = []
    while len(received) < 2:
        received += there.receive()
    assert received == [{"model": "a\nb"}, {"worker": 1}]
    here.beat()
    assert there.receive() == []


def test_the_end_of_one_side_is_received_at_the_other(ends):
    here, there = ends
    here.close()
    assert there.receive() is None
    there.send({"nobody": "hears"})
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
    received = failure_of(failure_message(error))
    assert (type(received), str(received)) == (kind, "a")
