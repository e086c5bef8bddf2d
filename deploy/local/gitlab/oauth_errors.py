"""The ways in which OAuth says no, in the words of Doorkeeper, GitLab's library for it."""

from __future__ import annotations


class OauthError(Exception):
    """An error of the protocol: its code and the sentence that goes with it."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(code)
        self.body = {"error": code, "error_description": description}
        self.status = status


BAD_GRANT = OauthError(
    "invalid_grant",
    "The provided authorization grant is invalid, expired, revoked, does not match the redirection URI used "
    "in the authorization request, or was issued to another client.",
)
BAD_CLIENT = OauthError(
    "invalid_client",
    "Client authentication failed due to unknown client, no client authentication included, or unsupported "
    "authentication method.",
    401,
)
