"""Copy CSV whose quotes and delimiters are escaped, so that an escape character before others stays as it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO, Final

from vaegis.service.files.batches import blocks_of_lines

_BLOCK_BYTES: Final = 4 << 20


def copy_with_escapes(stream: BinaryIO, copy: Path, path: Path, *, delimiter: str, quote: str, escape: str) -> Path:
    r"""Write a copy in which the escape character stands before itself, quotes, delimiters and line ends alone.

    Before another character it stays, as in ``C:\new`` of Spark, so it is doubled. ``\N`` alone, by which databases
    write a null, becomes an empty value.

    Args:
        stream: The file, in UTF-8.
        copy: Where the copy goes.
        path: The file's path, for messages.
        delimiter: The character between values.
        quote: The character around them; may be empty.
        escape: The escape character.
    """
    mark, between = re.escape(escape.encode()), re.escape(f"{delimiter}\r\n".encode())
    pattern = re.compile(rb"(?<![^%b])%bN(?=[%b]|\Z)|%b([\s\S])?" % (between, mark, between, mark))
    escaped = frozenset(f"{escape}{quote}{delimiter}\r\n".encode())

    def written(found: re.Match[bytes]) -> bytes:
        if found[1] is None:
            return b"" if len(found[0]) > 1 else found[0]
        return found[0] if found[1][0] in escaped else escape.encode() + found[0]

    with copy.open("wb") as file:
        file.writelines(pattern.sub(written, block) for block in blocks_of_lines(stream, path, _BLOCK_BYTES))
    return copy
