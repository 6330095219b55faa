"""Whether the service may score: only a model that reproduced its golden records makes it ready."""

from __future__ import annotations

from enum import StrEnum

from vaegis.service.artifact import Verification
from vaegis.service.http.errors import NotReadyError


class State(StrEnum):
    """Where the service is in its life."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


class Readiness:
    """The service's state. It moves from loading to ready to draining and never back."""

    def __init__(self) -> None:
        self._has_model = False
        self._is_draining = False

    @property
    def state(self) -> State:
        """The present state."""
        if self._is_draining:
            return State.DRAINING
        return State.READY if self._has_model else State.LOADING

    def admit(self, verification: Verification) -> None:
        """Become ready. A ``verification`` exists only if the golden records were reproduced."""
        if verification.records < 1:
            raise ValueError(f"verification: expected at least one golden record, got {verification.records}")
        self._has_model = True

    def drain(self) -> None:
        """Stop being ready, for good: the service is about to stop. What still arrives is answered."""
        self._is_draining = True

    def require_model(self) -> None:
        """Pass if requests can be answered, also while draining.

        Raises:
            NotReadyError: no model was admitted yet.
        """
        if not self._has_model:
            raise NotReadyError("the model is still loading")

    def require_ready(self) -> None:
        """Pass if requests should be sent here.

        Raises:
            NotReadyError: the service is loading or draining.
        """
        if self.state is not State.READY:
            raise NotReadyError(f"the service is {self.state}")
