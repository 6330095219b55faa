"""Take records out of the envelopes they come in, such as those of Debezium, Kafka's REST proxy and CloudEvents."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from vaegis.service.records.json import BodyError, TooManyValuesError, parse_json, require_few_values
from vaegis.service.records.json_limits import nests_deeper_than

_TOKEN: Final = re.compile("/([^/]+)")
_SPACE: Final = b" \t\r\n"
_NOTHING: Final = b"null"
_LISTS: Final = msgspec.json.Decoder(list[msgspec.Raw])


class Unwrapper:
    """Replaces each envelope by the record in it, and by null where there is none: that is no record and is refused."""

    def __init__(self, pointer: str, *, max_depth: int, max_values: int) -> None:
        """Take what ``pointer`` refers to.

        Args:
            pointer: A JSON pointer (RFC 6901) of names.
            max_depth: Levels of arrays and objects within each other; the envelope's come on top.
            max_values: Most commas and opening brackets of a document.
        """
        self.pointer = pointer
        names = [token.replace("~1", "/").replace("~0", "~") for token in _TOKEN.findall(pointer)]
        envelope: Any = msgspec.Raw
        for name in reversed(names):
            envelope = msgspec.defstruct("Envelope", [("inner", envelope, msgspec.UNSET)], rename={"inner": name})
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(envelope)
        self._steps = len(names)
        self._max_depth = max_depth + len(names)
        self._max_values = max_values

    def location(self, row: int, column: str | None) -> str:
        """Return how messages name a record, or a column of it, within its envelope."""
        record = f"records[{row}]{self.pointer}"
        return record if column is None else f"{record}.{column}"

    def document(self, body: bytes) -> bytes:
        """Return a JSON document of one envelope, or of a list of them, as one of records.

        Raises:
            BodyError: The body is not well-formed JSON, or nests too deep.
            TooManyValuesError: It holds more values than allowed.
        """
        require_few_values(body, self._max_values)
        if nests_deeper_than(body, self._max_depth):
            raise BodyError("too_deep", f"body: expected at most {self._max_depth} levels of nesting, got more")
        try:
            if not body.lstrip(_SPACE).startswith(b"["):
                return self._record(body)
            return b"[" + b",".join([self._record(envelope) for envelope in _LISTS.decode(body)]) + b"]"
        except (msgspec.DecodeError, UnicodeDecodeError):
            parse_json(body, max_depth=self._max_depth)  # says what is wrong
            return _NOTHING  # one parser takes it and the other does not

    def lines(self, text: bytes) -> bytes:
        """Return lines of envelopes as lines of records. One that is not well-formed stays, and is refused later."""
        return b"\n".join([self._line(line) if line.strip(_SPACE) else line for line in text.split(b"\n")])

    def _line(self, line: bytes) -> bytes:
        try:
            return self.document(line)
        except (BodyError, TooManyValuesError):
            return line

    def _record(self, envelope: bytes | msgspec.Raw) -> bytes:
        try:
            found = self._decoder.decode(envelope)
            for _ in range(self._steps):
                found = found.inner
                if found is msgspec.UNSET:
                    return _NOTHING
        except msgspec.ValidationError:  # something else than an object on the way
            return _NOTHING
        return bytes(found).translate(None, b"\r\n")
