"""A response that is an error: a status, one line of text, and when to retry."""

from dataclasses import dataclass

from fastapi.responses import JSONResponse


@dataclass
class RequestError(Exception):
    """A request that is not served; `text` names no file, no token and no place in the code.

    `close` ends the connection, for a body that was not read to its end.
    """

    status: int
    text: str
    retry_after_seconds: int | None = None
    close: bool = False

    def response(self) -> JSONResponse:
        headers = {}
        if self.retry_after_seconds is not None:
            headers["Retry-After"] = str(self.retry_after_seconds)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.close:
            headers["Connection"] = "close"
        return JSONResponse({"error": self.text}, self.status, headers=headers)
