"""A caller's trace is gone on with if its header is valid (W3C Trace Context), and begun anew otherwise."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.http.request_context import identify

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"


@pytest.mark.parametrize(
    "header",
    [
        b"00-%b-%b-01" % (TRACE, SPAN),
        b"00-%b-%b-00" % (TRACE, SPAN),
        b"01-%b-%b-ff" % (TRACE, SPAN),
        b"cc-%b-%b-01-what-the-future-will-be-like" % (TRACE, SPAN),
    ],
)
def test_a_valid_header_gives_the_trace(header):
    identity = identify([(b"accept", b"*/*"), (b"traceparent", header)])
    assert identity.trace_id == TRACE.decode()
    assert identity.span_id != SPAN.decode()


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"ff-%b-%b-01" % (TRACE, SPAN),
        b"00-%b-%b-01-more" % (TRACE, SPAN),
        b"00-%b-%b-01 " % (TRACE, SPAN),
        b"00-%b-%b" % (TRACE, SPAN),
        b"00-%b-%b-1" % (TRACE, SPAN),
        b"0-%b-%b-01" % (TRACE, SPAN),
        b"00-%b-%b-01" % (TRACE.upper(), SPAN),
        b"00-%b-%b-01" % (TRACE[1:], SPAN),
        b"00-%b-%b-01" % (b"0" * 32, SPAN),
        b"00-%b-%b-01" % (TRACE, b"0" * 16),
        b"00-%b-%b-01\n" % (TRACE, SPAN),
    ],
)
def test_an_invalid_one_is_replaced(header):
    found = identify([(b"traceparent", header)]).trace_id
    assert re.fullmatch(r"[0-9a-f]{32}", found)
    assert found != TRACE.decode()


def test_two_are_as_none():
    header = (b"traceparent", b"00-%b-%b-01" % (TRACE, SPAN))
    assert identify([header, header]).trace_id != TRACE.decode()
    assert identify([(b"x-request-id", b"a"), (b"x-request-id", b"a")]).request_id != "a"


@given(st.lists(st.tuples(st.sampled_from([b"traceparent", b"x-request-id", b"host"]), st.binary(max_size=80))))
def test_whatever_is_sent_what_is_logged_needs_no_escape(headers):
    request_id, trace_id, span_id = identify(headers)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", request_id)
    assert re.fullmatch(r"[0-9a-f]{32}", trace_id)
    assert re.fullmatch(r"[0-9a-f]{16}", span_id)


def test_no_two_requests_are_known_by_the_same():
    identities = [identify([]) for _ in range(1000)]
    for part in zip(*identities, strict=True):
        assert len(set(part)) == 1000
