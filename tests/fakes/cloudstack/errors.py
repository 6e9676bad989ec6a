"""What the server refuses, with the codes that its clients see."""

from __future__ import annotations

_CSERROR = {
    401: 9999,
    429: 9999,
    430: 9999,
    431: 4350,
    432: 9999,
    503: 9999,
    530: 4250,
    531: 4365,
    532: 4280,
    533: 4320,
    534: 4380,
    535: 4370,
    536: 4375,
    537: 4360,
}
MASKED = "Internal error executing command, please contact your system administrator"
CREDENTIALS = "unable to verify user credentials and/or request signature"


class ApiError(Exception):
    """code: HTTP status and errorcode. masked: only root admins see the text of an unexpected exception."""

    def __init__(self, code: int, text: str, *, cserror: int | None = 0, masked: bool = False, anonymous: bool = False):
        super().__init__(text)
        self.code = code
        self.text = text
        self.cserror = _CSERROR.get(code) if cserror == 0 else cserror
        self.masked = masked
        self.anonymous = anonymous
        """Answered under the key ``errorresponse``."""

    def shown_to(self, admin: bool) -> str:
        return MASKED if self.masked and not admin else self.text


class ServerRestartError(ApiError):
    """The management server died under a job: failed, and nothing that a client could read about it."""

    def __init__(self) -> None:
        super().__init__(530, "Job cancelled because of management server restart")


def bad(text: str) -> ApiError:
    """A parameter that does not do."""
    return ApiError(431, text)


def unauthorized(text: str = CREDENTIALS, cserror: int | None = None) -> ApiError:
    """No valid key, signature or date; a command that does not exist looks the same."""
    return ApiError(401, text, cserror=cserror)
