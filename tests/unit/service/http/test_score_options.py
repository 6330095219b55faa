"""The query of POST /score means what it would mean to the framework, and is refused in the same words."""

from __future__ import annotations

import asyncio
from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.http.errors import ParameterError
from vaegis.service.http.problems import answer_error
from vaegis.service.http.score_options import ScoreQuery, parse_query
from vaegis.service.verdicts import Explain

names = st.sampled_from(["alpha", "explain", "Alpha", "other", "", "alp%68a", "%C3%A9"])
values = st.sampled_from(["0.1", "1e-3", "", "+0.2+", "nan", "x", "1_0", "none", "all", "ALL", "%61ll", "%ff", "a=b"])
queries = st.lists(st.tuples(names, values).map("=".join) | names, max_size=4).map("&".join)


@pytest.fixture(scope="module")
def framework():
    """Ask the framework what a query means: the parameters, or what is wrong with them."""
    app = FastAPI()
    app.add_exception_handler(RequestValidationError, answer_error)

    @app.get("/")
    def route(query: Annotated[ScoreQuery, Query()]) -> dict[str, str]:
        return {"query": repr(query)}

    def ask(query: str) -> object:
        async def exchange() -> httpx.Response:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.get(f"/?{query}")

        answer = asyncio.run(exchange()).json()
        return answer.get("query") or [error["message"] for error in answer["errors"]]

    return ask


@given(queries)
def test_a_query_means_what_it_means_to_the_framework(framework, query):
    try:
        parsed: object = repr(parse_query(query.encode()))
    except ParameterError as error:
        # The framework does not say which parameters there are.
        parsed = [message.removesuffix("; expected alpha, explain, on_invalid") for message in error.messages]
    assert parsed == framework(query)


def test_parameters_may_be_left_out_and_the_last_of_several_counts():
    assert parse_query(b"") == ScoreQuery()
    assert parse_query(b"alpha=0.1&explain=all&alpha=0.25") == ScoreQuery(alpha=0.25, explain=Explain.ALL)


@pytest.mark.parametrize("alpha", ["0", "1", "5", "-0.1", "nan", "inf"])
def test_an_alpha_that_is_no_fraction_is_a_bad_parameter(alpha):
    with pytest.raises(ParameterError, match=r"alpha: expected (greater than 0|less than 1)"):
        parse_query(f"alpha={alpha}".encode())


def test_a_query_of_any_length_is_read():
    assert parse_query(b"alpha=0.1" + b"0" * 10_000) == ScoreQuery(alpha=0.1)
