"""POST /models/{model}/promote and /rollback: choose the version of a folder that is live, as the commands do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from pydantic import ConfigDict, Field
from starlette.types import Receive, Scope, Send

from vaegis.service.errors import ArtifactError, SettingsError
from vaegis.service.gate import Condition, not_in_shadow, parse_gate, require_conditions
from vaegis.service.http.admission import Admission
from vaegis.service.http.endpoints import MODEL_PARAMETER, json_content, operation, read_parameters
from vaegis.service.http.errors import KeysNeededError, MediaTypeError, ParameterError, VersionRefusedError
from vaegis.service.http.models.registry import ModelRegistry
from vaegis.service.http.negotiation import header, require_json
from vaegis.service.http.routes import path_parameters
from vaegis.service.http.schemas import EXAMPLE_DIGEST, Answer, with_example
from vaegis.service.model_folder import Pointer, promote, roll_back, version_path

PROMOTE: Final = "/models/{model}/promote"
"""Template of the route that makes a version live."""
ROLLBACK: Final = "/models/{model}/rollback"
"""Template of the route that makes the version before live again."""

_MAX_IGNORED_BYTES: Final = 4096  # of a body that a rollback does not need
_FORWARDED: Final = {b"forwarded", b"x-forwarded-for", b"x-real-ip"}


class PromoteRequest(Answer):
    """The body of POST /models/{model}/promote."""

    model_config = ConfigDict(strict=True)

    version: str = Field(description="The version: its file's name without .onnx.")
    gate: str | None = Field(
        default=None,
        description="Promote only if the measures of GET /models/{model}/shadow fit, as in "
        "flagged_ratio<1.5,disagreement<0.02,records>1000.",
    )


class PromotionAnswer(Answer):
    """The answer of POST /models/{model}/promote and /rollback."""

    model_config = with_example(model="orders", version="2024-06", digest=EXAMPLE_DIGEST, before="2024-05")

    model: str
    version: str = Field(description="The version that is live from now on; workers load it within a second or two.")
    digest: str
    before: str | None = Field(description="The version that a rollback makes live; null if there is none.")


@dataclass(frozen=True, slots=True)
class PromotionEndpoint:
    """Answers one of the two routes.

    Attributes:
        models: The models that are served.
        folder: Their folder; None for a single file.
        admission: Admits requests.
        is_permitted: Whether a request may change versions.
        checked_digest: Makes every check of the file of a version, and returns its digest; None for the route that goes
            back.
    """

    models: ModelRegistry
    folder: Path | None
    admission: Admission
    is_permitted: Callable[[Scope], bool]
    checked_digest: Callable[[Path], str] | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if not self.is_permitted(scope):
            raise KeysNeededError
        name = self.models.entry(path_parameters(scope["path"])["model"]).name
        if self.folder is None:
            raise VersionRefusedError("the service serves a single file; only a folder of models has versions")
        require_json(scope["headers"])  # a form of another site's page is none, in a browser that tells no origin too
        if self.checked_digest is not None and not header(scope["headers"], b"content-type"):
            raise MediaTypeError("Content-Type: expected application/json, got none")
        async with self.admission.slot(scope, receive) as slot:
            if self.checked_digest is None:
                await slot.read_document(_MAX_IGNORED_BYTES)
                change = partial(roll_back, self.folder, name)
            else:
                asked = await read_parameters(slot, PromoteRequest)
                change = partial(self._promoted, self.folder, name, asked, self.checked_digest)
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
        shadow = self.models.entry(name).shadow
        measured = None if shadow is None else self.models.compared(name)
        if measured is None or measured.digest != digest:
            raise not_in_shadow(name, version)
        require_conditions(conditions, measured)

    def operation(self) -> dict[str, Any]:
        """Return what OpenAPI says of the route."""
        gives, parameters = json_content(PromotionAnswer), [MODEL_PARAMETER]
        if self.checked_digest is None:
            text = "Make the version live that was live before the last promotion."
            return operation(
                "roll_back", "Make the version before live", text, takes=None, gives=gives, parameters=parameters
            )
        text = "Check a version and make it live if the gate holds. Workers load it in a second or two."
        takes = json_content(PromoteRequest, {"version": "2024-06"})
        return operation("promote", "Make a version live", text, takes=takes, gives=gives, parameters=parameters)


def may_change_versions(scope: Scope, *, has_keys: bool, is_open: bool) -> bool:
    """Return whether a request may change which version is live, where its key, if keys are needed, allows that."""
    return has_keys or (not is_open and _is_local(scope))


def _is_local(scope: Scope) -> bool:
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


def _conditions(gate: str) -> list[Condition]:
    try:
        return parse_gate(gate)
    except SettingsError as error:
        raise ParameterError(str(error)) from error
