"""Parse JSON bodies strictly, within limits on their values and their nesting."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final, NoReturn

import numpy as np

from vaegis.service.records.blocks import BLOCK_BYTES, BodyError, TooManyValuesError
from vaegis.service.records.byte_order_marks import without_mark
from vaegis.service.records.column_names import shown
from vaegis.service.records.sniffing import encoding_hint

_SPACE = b" \t\r\n"
_NO_SPACE = re.compile(r"[^ \t\r\n]")
VALUE_MARKS = b",[{"
"""What begins values or separates them."""
_MORE = "Extra data"  # as Python's parser says it
_EXPECTED = {
    "Expecting property name enclosed in double quotes": "a name in double quotes",
    "Illegal trailing comma before end of object": "no comma before the end",
    "Illegal trailing comma before end of array": "no comma before the end",
    "Expecting value": "a value",
    "Expecting ',' delimiter": "a comma",
    "Expecting ':' delimiter": "a colon",
    "Invalid control character at": "an escape for the control character",
    "Unterminated string starting at": "an end of the text",
}
"""What is missing in a document, by what Python's parser says of it."""
_MISTAKES = (
    (re.compile(r".?\0"), "UTF-16; write it as UTF-8"),
    (re.compile("\u00ef\u00bb\u00bf"), "UTF-8 that was read in another encoding and written again"),
    (re.compile(r"@|[\w./\\~-]+\.\w+\s*\Z"), "the name of a file; with curl, --data-binary @FILE sends what is in it"),
    (re.compile(r"[\s{\[]*'"), "text in single quotes; JSON has double quotes, as json.dumps writes them"),
    (re.compile(r"[\[\s]*\{\s*\w+\s*:"), "JSON without quotes, which a shell may have removed; send it from a file"),
    (re.compile(r"[\w.%+-]+=(?:[^,\n]*\Z|[\[{])|%[57]B", re.IGNORECASE), "a form; send JSON"),
    (re.compile(r"\x1e"), "a JSON text sequence; send one record per line as application/x-ndjson, without its marks"),
    (re.compile(r"\s*<"), "XML or HTML"),
    (re.compile(r"[^{}\[\]\n]*[,;\t]"), "CSV (Content-Type: text/csv, or a file named .csv)"),
)
"""What text that is no JSON seems to be, by how it begins."""
_MOST_LOOKED_AT = 200  # characters
_LATEST_MISTAKE = 2
"""An error up to this character is likely one of the whole text, not of one value."""

_SHORT: Final = 4096  # bytes; up to here the methods of bytes are faster than numpy
_NO_BACKSLASH = re.compile(rb"[^\\]")
_QUOTE, _OPEN_LIST, _CLOSE_LIST, _OPEN_OBJECT, _CLOSE_OBJECT = b'"[]{}'


def require_few_values(body: bytes, max_values: int) -> None:
    """Pass if a body can be parsed as JSON without taking too much memory.

    A value may take a hundred bytes in memory for two in the body, so that a limit of bytes alone bounds little.
    Values are counted by what begins or separates them: commas and opening brackets, also within text.

    Raises:
        TooManyValuesError: there are more than ``max_values``.
    """
    values = count_marks(body, VALUE_MARKS)
    if values > max_values:
        raise TooManyValuesError(f"body: expected at most {max_values} commas and opening brackets, got {values}")


def count_marks(text: bytes, marks: bytes) -> int:
    """Return how many bytes of ``text`` are one of ``marks``.

    >>> count_marks(b"[1,2]", b"[,")
    2
    """
    if len(text) <= _SHORT:
        return sum(map(text.count, marks))
    count = 0
    for start in range(0, len(text), BLOCK_BYTES):
        block = np.frombuffer(text, dtype=np.uint8, count=min(BLOCK_BYTES, len(text) - start), offset=start)
        count += sum(int(np.count_nonzero(block == mark)) for mark in marks)
    return count


def nests_deeper_than(text: bytes, levels: int) -> bool:
    """Tell whether ``text`` opens more than ``levels`` arrays and objects within each other, in linear time.

    Brackets within strings do not count. Of text that is not JSON, every part that a parser would accept before it
    meets the error is judged rightly.

    >>> nests_deeper_than(b'[{"a": "[[["}]', 2)
    False
    """
    if count_marks(text, b"[{") <= levels:
        return False
    depth, quotes = 0, 0
    for part in _parts(text):
        block = np.frombuffer(part, dtype=np.uint8)
        # The count of quotes may wrap around: 256 is even, and only its parity is used.
        seen = np.cumsum(block == _QUOTE, dtype=np.uint8) + np.uint8(quotes)
        outside = (seen & 1) == 0
        opened = ((block == _OPEN_LIST) | (block == _OPEN_OBJECT)) & outside
        closed = ((block == _CLOSE_LIST) | (block == _CLOSE_OBJECT)) & outside
        depths = depth + np.cumsum(opened.astype(np.int32) - closed, dtype=np.int32)
        if depths.max() > levels:
            return True
        depth, quotes = int(depths[-1]), int(seen[-1]) & 1
    return False


def refused_constant(name: str) -> NoReturn:
    """Refuse a literal that JSON does not have."""
    raise BodyError("not_finite", f"body: expected finite numbers, got the literal {name}, which JSON does not have")


def null_for_nan(name: str) -> None:
    """Return a null for NaN, and refuse another literal."""
    if name != "NaN":
        refused_constant(name)


def parse_json(body: bytes, *, max_depth: int, constant: Callable[[str], object] = refused_constant) -> object:
    """Parse a body as strict JSON, in linear time and without unbounded recursion.

    Beyond RFC 8259, keys of an object must differ. Numbers beyond float64 become infinite here and are refused by the
    rules of the column that holds them.

    Args:
        body: The bytes, UTF-8; a byte order mark is skipped.
        max_depth: Levels of arrays and objects within each other, at least 1.
        constant: Returns the value of a literal NaN, Infinity or -Infinity, which Python's own encoder writes.

    Raises:
        BodyError: With code ``empty_body``, ``invalid_utf8``, ``invalid_json``, ``too_deep``, ``duplicate_key``,
            ``not_finite`` or ``too_large``.
    """
    text = _text(body, max_depth)
    with _body_errors(max_depth):
        return _decoder(constant).decode(text)


def parse_records(body: bytes, *, max_depth: int, most: int) -> list[object]:
    """Parse a body as `parse_json` does, into the list that it holds, or of the one thing that it is.

    A list is parsed element by element, so that no call keeps other threads waiting for long, up to ``most`` elements
    and one more: what comes then is not looked at.
    """
    text, decoder = _text(body, max_depth), _decoder(refused_constant)
    at = _after_space(text, 0)
    with _body_errors(max_depth):
        if text[at] != "[":
            return [decoder.decode(text)]
        records: list[object] = []
        at = _after_space(text, at + 1)
        if text.startswith("]", at):
            return _at_end(text, at + 1, records)
        while True:
            record, at = decoder.raw_decode(text, at)
            records.append(record)
            at = _after_space(text, at)
            if len(records) > most:
                return records
            if text.startswith("]", at):
                return _at_end(text, at + 1, records)
            if not text.startswith(",", at):
                raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
            at = _after_space(text, at + 1)


def _parts(text: bytes) -> Iterator[bytes]:
    """Yield ``text`` in parts, without characters that backslashes escape."""
    start = 0
    while start < len(text):
        end = start + BLOCK_BYTES
        if text.endswith(b"\\", start, end):  # what it escapes belongs to the same part
            after = _NO_BACKSLASH.search(text, end)
            end = after.end() if after else len(text)
        part = text[start:end]
        start = end
        if b"\\" in part:
            # Pairs go first, so that the one left over before a quote is the one that escapes it.
            part = part.replace(b"\\\\", b"").replace(b'\\"', b"")
        if part:
            yield part


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object's pairs as a dict, unless a key comes twice."""
    built = dict(pairs)
    if len(built) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BodyError("duplicate_key", f"body: expected each key once, got {shown(key)!r} twice")
            seen.add(key)
    return built


@cache
def _decoder(constant: Callable[[str], object]) -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=_object, parse_constant=constant)


def _text(body: bytes, max_depth: int) -> str:
    """Return a body as text, neither blank nor too deep."""
    body = without_mark(body)
    if not body.strip(_SPACE):
        raise BodyError("empty_body", "body: expected JSON, got nothing")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        hint = encoding_hint(body)
        raise BodyError("invalid_utf8", f"body: expected UTF-8, got an invalid byte at {error.start}{hint}") from None
    if nests_deeper_than(body, max_depth):
        raise _too_deep(max_depth)
    return text


def _after_space(text: str, at: int) -> int:
    found = _NO_SPACE.search(text, at)
    return found.start() if found else len(text)


def _at_end(text: str, at: int, records: list[object]) -> list[object]:
    end = _after_space(text, at)
    if end != len(text):
        raise json.JSONDecodeError(_MORE, text, end)
    return records


@contextmanager
def _body_errors(max_depth: int) -> Iterator[None]:
    """Turn what the parser raises into our own error."""
    try:
        yield
    except json.JSONDecodeError as error:
        detail = error.msg.split(":")[0]
        if detail == _MORE:
            several = f"expected one JSON value, got more after it at character {error.pos}"
            hint = "send one record per line as application/x-ndjson; curl -d joins lines, --data-binary keeps them"
            if error.doc.startswith(",", error.pos):
                hint = "a list of records stands between [ and ]"
            raise BodyError("invalid_json", f"body: {several}; {hint}") from None
        wanted = f"JSON with {_EXPECTED[detail]}" if detail in _EXPECTED else "valid JSON"
        got = "other text" if error.doc[error.pos :].strip() else "its end"
        hint = _mistake(error.doc) if error.pos <= _LATEST_MISTAKE else ""
        raise BodyError("invalid_json", f"body: expected {wanted} at character {error.pos}, got {got}{hint}") from None
    except RecursionError:  # Only where max_depth is beyond what the interpreter allows.
        raise _too_deep(max_depth) from None
    except ValueError:  # The one other: an integer with more digits than the interpreter converts.
        raise BodyError("too_large", "body: expected integers of at most 4300 digits, got a longer one") from None


def _mistake(text: str) -> str:
    """Return what text that is no JSON from its beginning on seems to be, as the end of a message."""
    beginning = text[:_MOST_LOOKED_AT]
    found = next((what for pattern, what in _MISTAKES if pattern.match(beginning)), None)
    return "" if found is None else f"; it seems to be {found}"


def _too_deep(max_depth: int) -> BodyError:
    return BodyError("too_deep", f"body: expected at most {max_depth} levels of nesting, got more")
