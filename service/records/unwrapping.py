"""Take records out of the envelopes they come in, such as those of Debezium, Kafka's REST proxy and CloudEvents."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from vaegis.service.records.blocks import BodyError, TooManyValuesError
from vaegis.service.records.json import nests_deeper_than, parse_json, require_few_values
from vaegis.service.records.json_pointer import names_of

_SPACE: Final = b" \t\r\n"
_NULL: Final = b"null"
_NOTHING: Final = b" null"
"""A null as well, but told from one that was sent."""
_LISTS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECTS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXTS: Final = msgspec.json.Decoder(str)
_RAW: Final = msgspec.json.Decoder(msgspec.Raw)


class Unwrapper:
    """Replaces each envelope by the record in it, or by the records in its list.

    Where there is none, null is put, which is no record and is refused.
    """

    def __init__(self, pointer: str, *, max_depth: int, max_values: int, skips_nulls: bool = False) -> None:
        """Take what ``pointer`` refers to.

        Args:
            pointer: A JSON pointer (RFC 6901) of names.
            max_depth: Levels of arrays and objects within each other; the envelope's come on top.
            max_values: Most commas and opening brackets of a document.
            skips_nulls: Whether lines whose record is null, such as deletions, are left out.
        """
        self.pointer = pointer
        names = names_of(pointer)
        envelope: Any = msgspec.Raw
        for name in reversed(names):
            envelope = msgspec.defstruct("Envelope", [("inner", envelope, msgspec.UNSET)], rename={"inner": name})
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(envelope)
        self._names = names
        self._steps = len(names)
        self._max_depth = max_depth + len(names)
        self._max_values = max_values
        self._skips_nulls = skips_nulls

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
        self._require_limits(body)
        try:
            found = self._found(msgspec.Raw(body.lstrip(_SPACE)))
        except (msgspec.DecodeError, UnicodeDecodeError):
            parse_json(body, max_depth=self._max_depth)  # says what is wrong
            return _NOTHING  # one parser takes it and the other does not
        return found if isinstance(found, bytes) else b"[" + b",".join(found) + b"]"

    def _require_limits(self, body: bytes) -> None:
        require_few_values(body, self._max_values)
        if nests_deeper_than(body, self._max_depth):
            raise BodyError("too_deep", f"body: expected at most {self._max_depth} levels of nesting, got more")

    def lines(self, text: bytes) -> bytes:
        """Return lines of envelopes as lines of records. One that is not well-formed stays, and is refused later."""
        found = [self._line(line) if line.strip(_SPACE) else line for line in text.split(b"\n")]
        return b"\n".join([line for line in found if line != _NULL] if self._skips_nulls else found)

    def _line(self, line: bytes) -> bytes:
        try:
            self._require_limits(line)
            found = self._found(msgspec.Raw(line.lstrip(_SPACE)))
        except (BodyError, TooManyValuesError, msgspec.DecodeError, UnicodeDecodeError):
            return line
        if isinstance(found, bytes):
            return found
        return b"\n".join([record for record in found if record != _NULL] if self._skips_nulls else found)

    def _found(self, envelope: msgspec.Raw) -> bytes | list[bytes]:
        """Return the record in an envelope; those of a list of envelopes, or of an envelope with a list, as a list."""
        if _is_list(envelope):
            return _flat(self._found_in_one(item) for item in _LISTS.decode(envelope))
        return self._found_in_one(envelope)

    def _found_in_one(self, envelope: msgspec.Raw) -> bytes | list[bytes]:
        try:
            found = self._decoder.decode(envelope)
            for _ in range(self._steps):
                found = found.inner
                if found is msgspec.UNSET:
                    return _NOTHING
            if not _is_list(found):
                return _one_line(found)
        except msgspec.ValidationError:  # something else than an object on the way
            pass
        return self._with_lists(envelope)

    def _with_lists(self, envelope: msgspec.Raw) -> bytes | list[bytes]:
        """Return the records of an envelope where something else than objects is on the way."""
        return _walked(envelope, self._names)


class EventUnwrapper(Unwrapper):
    """Takes the record out of each CloudEvent (CloudEvents 1.0, JSON event format).

    It is one object, the event's `data`, or what its `data_base64` holds: SDKs that are given bytes write that.
    """

    def __init__(self, *, is_batch: bool, max_depth: int, max_values: int) -> None:
        """Expect a list of events if ``is_batch``, and one event otherwise. For the rest see `Unwrapper`."""
        super().__init__("/data", max_depth=max_depth, max_values=max_values)
        self._is_batch = is_batch

    def document(self, body: bytes) -> bytes:
        """Return a document of events as one of records.

        Raises:
            BodyError: It is one event instead of a list or a list instead of one, a `data_base64` holds no JSON, or
                what `Unwrapper.document` refuses.
            TooManyValuesError: It holds more values than allowed, encoded ones included.
        """
        if self._is_batch != body.lstrip(_SPACE).startswith(b"["):
            expected, got = ("a list of events", "one") if self._is_batch else ("one event", "a list")
            media_types = "a list is application/cloudevents-batch+json, one event is application/cloudevents+json"
            raise BodyError("invalid_event", f"body: expected {expected}, got {got}; {media_types}")
        records = super().document(body)
        if b"data_base64" in body:
            self._require_limits(records)  # what was encoded may hold more values than the body shows
        return records

    def ids(self, body: bytes) -> tuple[str, ...]:
        """Return the `id` of each event of a body that `document` took; its position where it has none."""
        try:
            events = _LISTS.decode(body) if self._is_batch else [msgspec.Raw(body)]
        except msgspec.DecodeError:  # of what one parser takes and the other does not, null is left
            events = [msgspec.Raw(_NOTHING)]
        return tuple(_id_of(event, row) for row, event in enumerate(events))

    def _found(self, envelope: msgspec.Raw) -> bytes | list[bytes]:
        events = _LISTS.decode(envelope) if self._is_batch else [envelope]
        records = [self._record(event, row) for row, event in enumerate(events)]
        return records if self._is_batch else records[0]

    def _record(self, event: msgspec.Raw, row: int) -> bytes:
        """Return the one record of an event, as JSON on one line."""
        found = self._found_in_one(event)
        if isinstance(found, list) or found == _NOTHING:
            return self._encoded_record(event, row)
        return found

    def _encoded_record(self, event: msgspec.Raw, row: int) -> bytes:
        """Return what the `data_base64` of an event holds, or nothing if it has none."""
        try:
            encoded = _OBJECTS.decode(event).get("data_base64")
        except msgspec.DecodeError:  # something else than an object
            return _NOTHING
        if encoded is None:
            return _NOTHING
        try:
            data = base64.b64decode(_TEXTS.decode(encoded), validate=True)
            self._require_limits(data)
            return _one_line(_RAW.decode(data))
        except (msgspec.DecodeError, ValueError) as error:
            message = f"records[{row}].data_base64: expected JSON in base64, got something else"
            raise BodyError("invalid_event", message) from error

    def _with_lists(self, envelope: msgspec.Raw) -> bytes | list[bytes]:  # noqa: ARG002 - one record has one event
        return _NOTHING


class _Event(msgspec.Struct):
    id: str


_EVENTS: Final = msgspec.json.Decoder(_Event)


def _id_of(event: msgspec.Raw, row: int) -> str:
    try:
        return _EVENTS.decode(event).id
    except msgspec.DecodeError:
        return str(row)


def _is_list(value: msgspec.Raw) -> bool:
    return bytes(memoryview(value)[:1]) == b"["


def _flat(found: Iterable[bytes | list[bytes]]) -> list[bytes]:
    return [record for part in found for record in ([part] if isinstance(part, bytes) else part)]


def _one_line(record: msgspec.Raw) -> bytes:
    return bytes(record).translate(None, b"\r\n")


def _walked(value: msgspec.Raw, names: Sequence[str]) -> bytes | list[bytes]:
    """Return what ``names`` lead to from a value: a record, or a list where there are lists on the way."""
    if bytes(value).strip(_SPACE) == _NULL:
        return _NULL
    if _is_list(value):
        return _flat(_walked(item, names) for item in _LISTS.decode(value))
    if not names:
        return _one_line(value)
    try:
        inner = _OBJECTS.decode(value).get(names[0])
    except msgspec.ValidationError:  # something else than an object
        return _NOTHING
    return _NOTHING if inner is None else _walked(inner, names[1:])
