"""Who sits at a browser: signed in by choosing a user (there are no passwords on this machine).

Sessions live in memory, so that a restart signs everybody out.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from aiohttp import web

from deploy.local.gitlab.model import User
from deploy.local.gitlab.templates import OPEN_POLICY, csrf_cookie, csrf_holds, page

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab

COOKIE = "_gitlab_session"
PATH = "/users/sign_in"


@dataclass(frozen=True, slots=True)
class Session:
    """A user, and since when (epoch seconds)."""

    user: User
    since: int


class SignIn:
    """The sign-in page, and the sessions that come of it."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._sessions: dict[str, Session] = {}

    def add_to(self, app: web.Application) -> None:
        """Put the addresses on the application."""
        app.router.add_get(PATH, self._show)
        app.router.add_post(PATH, self._choose)
        app.router.add_post("/users/sign_out", self._leave)

    def session(self, request: web.Request) -> Session | None:
        """Who asks, or None when nobody signed in."""
        return self._sessions.get(request.cookies.get(COOKIE, ""))

    def needed(self, request: web.Request) -> web.Response:
        """Send somebody to the sign-in page, and after that back to where they wanted to go."""
        query = urlencode({"return_to": str(request.rel_url)})
        return web.Response(status=302, headers={"Location": f"{PATH}?{query}"})

    async def _show(self, request: web.Request) -> web.Response:
        users = [user for user in self._lab.store.users if not user.bot]
        # Whom the program in question knows already is sent on to it at once, by the answer to this form.
        return page(request, "sign_in.html", users=users, action=request.rel_url, policy=OPEN_POLICY)

    async def _choose(self, request: web.Request) -> web.Response:
        form = await request.post()
        if not csrf_holds(request, form):
            return web.Response(status=422, text="The form is too old. Go back and try again.\n")
        user = self._lab.find_user(str(form.get("user", "")))
        if user is None:
            return web.Response(status=422, text="There is no such user.\n")
        key = secrets.token_hex(32)
        self._sessions[key] = Session(user, int(time.time()))
        response = web.Response(status=302, headers={"Location": _place(request)})
        response.set_cookie(COOKIE, key, httponly=True, samesite="Lax", path="/")
        csrf_cookie(request, response)
        return response

    async def _leave(self, request: web.Request) -> web.Response:
        form = await request.post()
        if not csrf_holds(request, form):
            return web.Response(status=422, text="The form is too old. Go back and try again.\n")
        self._sessions.pop(request.cookies.get(COOKIE, ""), None)
        response = web.Response(status=302, headers={"Location": _place(request)})
        response.del_cookie(COOKIE, path="/")
        return response


def _place(request: web.Request) -> str:
    """Where to go on: a page of ours, or the list of projects."""
    wanted = request.query.get("return_to", "")
    return wanted if wanted.startswith("/oauth/authorize?") else "/"
