"""The blocking work of POST /generate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from pydantic import ValidationError

from vaegis.service.artifact import Artifact
from vaegis.service.generation import Generator, drawn_seed, records_of
from vaegis.service.http.answers import GenerateRequest, rendered, shown_digest
from vaegis.service.http.body import parse_body
from vaegis.service.http.call import Call
from vaegis.service.http.errors import ParameterError
from vaegis.service.http.metrics import Metrics
from vaegis.service.http.problems import parameter_messages


@dataclass(frozen=True)
class Generating:
    """Answers bodies of POST /generate with one model. It may be called from several threads."""

    artifact: Artifact
    metrics: Metrics
    max_count: int
    max_depth: int
    max_values: int
    run_timeout_s: float

    def answer(self, body: bytes, call: Call, between: Callable[[], None]) -> bytes:
        """Return the JSON answer to a JSON body; ``between`` is called between parts, and what it raises ends the work.

        Raises:
            TooManyValuesError: the body holds more values than allowed.
            BodyError: it is not well-formed JSON.
            ParameterError: it is no `GenerateRequest`, or asks for too many records.
            RateLimitedError: the caller may not have as many yet.
        """
        asked = self._request(body)
        between()
        call.charge(asked.count)
        seed = drawn_seed() if asked.seed is None else asked.seed
        records = []
        for part in self._generator.chunks(asked.count, seed, temperature=asked.temperature):
            records += records_of(self._generator.schema, part)
            between()
        answer = rendered(
            {
                "model": self.artifact.contract.provenance.model_name,
                "model_digest": shown_digest(self.artifact),
                "seed": seed,
                "records": records,
            }
        )
        call.records = len(records)
        self.metrics.records_generated.inc(len(records))
        return answer

    @cached_property
    def _generator(self) -> Generator:
        """The decoder, loaded at the first request so that a service that only scores never pays for it."""
        return Generator(self.artifact.contract, run_timeout_s=self.run_timeout_s)

    def _request(self, body: bytes) -> GenerateRequest:
        try:
            asked = GenerateRequest.model_validate(
                parse_body(body, max_depth=self.max_depth, max_values=self.max_values)
            )
        except ValidationError as error:
            raise ParameterError(*parameter_messages(error.errors(include_url=False))) from error
        if asked.count > self.max_count:
            raise ParameterError(f"count: expected at most {self.max_count}, got {asked.count}")
        return asked
