"""Why a request was refused, as OpenAI's clients expect to be told."""

from __future__ import annotations

from typing import Any

from hone.engines.base import PromptTooLongError, QueueFullError, UnknownAdapterError
from hone.errors import DataError, HoneError, ModelError, RecipeError


class RefusedError(Exception):
    """A request that is not served: an HTTP status, a sentence, and the parameter that is at fault."""

    def __init__(self, what: str, param: str | None = None, *, status: int = 400, code: str | None = None) -> None:
        super().__init__(what)
        self.what, self.param, self.status, self.code = what, param, status, code

    @property
    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.what, "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """What the status asks for beside it."""
        asked = {
            401: {"WWW-Authenticate": "Bearer"},
            408: {"Connection": "close"},
            429: {"Retry-After": "1"},
            503: {"Retry-After": "5"},
        }
        return asked.get(self.status, {})


def refusal_of(error: Exception) -> RefusedError:
    """The same for what the rooms below raise; nothing about this machine is told."""
    if isinstance(error, RefusedError):
        return error
    what = error.faults[0].what if isinstance(error, HoneError) and error.faults else ""
    if isinstance(error, PromptTooLongError):
        return RefusedError(what, "messages", code="context_length_exceeded")
    if isinstance(error, UnknownAdapterError):
        return RefusedError(what, "model", status=404, code="model_not_found")
    if isinstance(error, QueueFullError):
        return RefusedError(what, status=429, code="queue_full")
    if isinstance(error, RecipeError) and error.faults[0].code == "GRAMMAR":
        return RefusedError(what, "response_format")
    if isinstance(error, DataError | ModelError | RecipeError):
        return RefusedError(what, "messages")
    return RefusedError("the answer could not be computed", status=500)
