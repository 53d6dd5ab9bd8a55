"""An answer that is no result: a status, one line for people, and when to come again."""

from dataclasses import dataclass


@dataclass
class Refused(Exception):
    """A request that is not served; `text` names no file, no token and no place in the code.

    `closes` ends the connection, where the rest of a body was not read.
    """

    status: int
    text: str
    retry_after_seconds: int | None = None
    closes: bool = False

    def headers(self) -> dict[str, str]:
        """Headers beside the usual ones."""
        headers = {}
        if self.retry_after_seconds is not None:
            headers["Retry-After"] = str(self.retry_after_seconds)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.closes:
            headers["Connection"] = "close"
        return headers
