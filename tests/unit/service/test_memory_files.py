"""Files in memory that processes share."""

from __future__ import annotations

import os

import pytest

from vaegis.service.memory_files import content_of, memory_file


@pytest.mark.parametrize("size", [0, 1, 5 * 2**20])
def test_a_memory_file_holds_its_content_for_every_reader(size):
    content = os.urandom(size)
    file = memory_file("test", content)
    assert content_of(file) == content_of(file) == content
    os.close(file)
