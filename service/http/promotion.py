"""POST /models/{model}/promote and /rollback: choose the version of a folder that is live, as the commands do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from vaegis.service.errors import ArtifactError, GateError, SettingsError
from vaegis.service.gate import Condition, parse_gate, require_conditions
from vaegis.service.http.admission import Admission
from vaegis.service.http.errors import KeysNeededError, MediaTypeError, ParameterError, VersionRefusedError
from vaegis.service.http.model_registry import ModelRegistry
from vaegis.service.http.negotiation import header, require_json
from vaegis.service.http.problems import parameter_messages
from vaegis.service.http.routes import path_parameters
from vaegis.service.http.schemas import PromoteRequest, PromotionAnswer, reference
from vaegis.service.model_folder import Pointer, promote, roll_back, version_path

PROMOTE: Final = "/models/{model}/promote"
"""Template of the route that makes a version live."""
ROLLBACK: Final = "/models/{model}/rollback"
"""Template of the route that makes the version before live again."""

_MAX_BODY_BYTES: Final = 4096
_FORWARDED: Final = {b"forwarded", b"x-forwarded-for", b"x-real-ip"}


class PromotionEndpoint:
    """Answers one of the two routes, as an ASGI app."""

    def __init__(
        self,
        models: ModelRegistry,
        folder: Path | None,
        admission: Admission,
        is_permitted: Callable[[Scope], bool],
        checked_digest: Callable[[Path], str] | None,
    ) -> None:
        """Change the pointer files of a folder of models.

        Args:
            models: The models that are served.
            folder: Their folder; None for a single file.
            admission: Admits requests.
            is_permitted: Whether a request may do so.
            checked_digest: Makes every check of the file of a version, and returns its digest; None for the route that
                goes back.
        """
        self._models = models
        self._folder = folder
        self._admission = admission
        self._is_permitted = is_permitted
        self._checked_digest = checked_digest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if not self._is_permitted(scope):
            raise KeysNeededError
        name = self._models.entry(path_parameters(scope["path"])["model"]).name
        if self._folder is None:
            raise VersionRefusedError("the service serves a single file; only a folder of models has versions")
        require_json(scope["headers"])  # a form of another site's page is none, in a browser that tells no origin too
        if self._checked_digest is not None and not header(scope["headers"], b"content-type"):
            raise MediaTypeError("Content-Type: expected application/json, got none")
        async with self._admission.slot(scope, receive) as slot:
            body = await slot.read_document(_MAX_BODY_BYTES)
            if self._checked_digest is None:
                change = partial(roll_back, self._folder, name)
            else:
                change = partial(self._promoted, self._folder, name, _asked(body), self._checked_digest)
            pointer = await slot.run(partial(_refusing, change))
            before = pointer.history[-1].version if pointer.history else None
            answer = PromotionAnswer(
                model=name, version=pointer.live.version, digest=pointer.live.digest, before=before
            )
            written = answer.model_dump_json().encode()
            await slot.send(send, [written], len(written), ((b"content-type", b"application/json"),))

    def _promoted(
        self, folder: Path, name: str, asked: PromoteRequest, checked_digest: Callable[[Path], str]
    ) -> Pointer:
        conditions = [] if asked.gate is None else _conditions(asked.gate)
        digest = checked_digest(version_path(folder, name, asked.version))
        if conditions:
            self._require(conditions, name, asked.version, digest)
        return promote(folder, name, asked.version, digest)

    def _require(self, conditions: list[Condition], name: str, version: str, digest: str) -> None:
        """Pass if the conditions hold for the version, which must be in shadow of the live one."""
        shadow = self._models.entry(name).shadow
        measured = None if shadow is None else self._models.compared(name)
        if measured is None or measured.digest != digest:
            raise GateError(f"gate: expected {version!r} in shadow, got another version, or none")
        require_conditions(conditions, measured)

    def operation(self) -> dict[str, Any]:
        """Return what OpenAPI says of the route."""
        operation: dict[str, Any] = {
            "parameters": [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}],
            "responses": {
                "200": {
                    "description": "The version that is live from now on",
                    "content": {"application/json": {"schema": reference(PromotionAnswer.__name__)}},
                }
            },
        }
        if self._checked_digest is None:
            return operation | {
                "summary": "Roll back",
                "description": "Make the version live that was live before the last promotion.",
                "operationId": "roll_back",
            }
        body = {"schema": reference(PromoteRequest.__name__), "example": {"version": "2024-06"}}
        return operation | {
            "summary": "Promote",
            "description": "Check a version and make it live if the gate holds. Workers load it in a second or two.",
            "operationId": "promote",
            "requestBody": {"required": True, "content": {"application/json": body}},
        }


def is_local(scope: Scope) -> bool:
    """Return whether a request comes from this machine, and not through a proxy on it."""
    client = scope.get("client")
    if client is None or any(name in _FORWARDED for name, _ in scope["headers"]):
        return False
    try:
        return ip_address(client[0]).is_loopback
    except ValueError:
        return False


def _refusing(change: Callable[[], Pointer]) -> Pointer:
    try:
        return change()
    except ArtifactError as error:
        raise VersionRefusedError(str(error)) from error


def _asked(body: bytes) -> PromoteRequest:
    try:
        return PromoteRequest.model_validate_json(body)
    except ValidationError as error:
        raise ParameterError(*parameter_messages(error.errors(include_url=False))) from error


def _conditions(gate: str) -> list[Condition]:
    try:
        return parse_gate(gate)
    except SettingsError as error:
        raise ParameterError(str(error)) from error
