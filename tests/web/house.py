"""A web process beside a local GitLab, and the people who sign in there."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from html import unescape
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import httpx
from sqlalchemy import update

from deploy.local.gitlab import LocalGitLab
from deploy.local.seed import Seeder
from orchestrator import tables as t
from orchestrator.pool import Account
from tests.conftest import free_port
from tests.orchestrator.scene import World
from tests.web.scene import WebScene
from web.sign_in import back_url

#: By what they may do in the project; nobody does not sign in, the operator is a member of nothing.
PEOPLE = {
    "nobody": "",
    "stranger": "otto",
    "guest": "gus",
    "reporter": "rene",
    "developer": "dana",
    "maintainer": "max",
    "operator": "olga",
}
_LEVELS = {"gus": 10, "max": 40}
_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


class Visitor:
    """A browser, as far as links, forms and cookies go; a context manager."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.client = httpx.Client(base_url=base_url, trust_env=False, timeout=20)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()

    def get(self, path: str) -> httpx.Response:
        """A page, wherever it leads."""
        return self.client.get(path, follow_redirects=True)

    def goes_to_gitlab(self, name: str, *, page: str = "/", decision: str = "authorize") -> str:
        """Chooses to sign in, and a user on GitLab's page; the address that GitLab sends back to."""
        answer = self._until_asked(self.client.get(f"/sign-in?{urlencode({'next': page})}"))
        # Whom GitLab knows already is not asked who it is; who has agreed before is not asked for that.
        for form in ({"user": name}, {"decision": decision}):
            if not answer.is_redirect:
                answer = self._sends(answer, **form)
        return answer.headers["Location"]

    def _until_asked(self, answer: httpx.Response) -> httpx.Response:
        """Wherever GitLab leads, until it asks something or sends back to us."""
        while answer.is_redirect and not answer.headers["Location"].startswith(self.base_url):
            answer = self.client.get(answer.url.join(answer.headers["Location"]))
        return answer

    def _sends(self, page: httpx.Response, **form: str) -> httpx.Response:
        """The first form of a page of GitLab's."""
        action = re.search(r'<form method="post" action="([^"]+)"', page.text)
        csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
        if action is None or csrf is None:
            raise AssertionError(page.text)
        url = page.url.join(unescape(action[1]))
        return self._until_asked(self.client.post(url, data={"csrf": csrf[1], **form}))

    def signs_in(self, name: str, *, page: str = "/") -> httpx.Response:
        """All the way; the answer is the redirect to `page`."""
        return self.client.get(self.goes_to_gitlab(name, page=page))

    def token(self, page: str = "/") -> str:
        """What the forms of a page of ours carry; empty where it has none."""
        found = _TOKEN.search(self.get(page).text)
        return found[1] if found else ""

    def posts(self, path: str, *, headers: Mapping[str, str] | None = None, **form: str) -> httpx.Response:
        """Sends a form of ours."""
        data = {"csrf_token": self.token(), **form}
        return self.client.post(path, data=data, headers=headers)


class House:
    """The web process, its GitLab, and a project that both know, with one live preview."""

    def __init__(
        self, gitlab: LocalGitLab, seeder: Seeder, serve: Callable[..., WebScene], **settings: Any
    ) -> None:
        self.gitlab, self.seeder = gitlab, seeder
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        application = seeder.application("Previews", back_url(self.url))
        self.web = serve(
            port=port,
            public_url=self.url,
            gitlab_url=gitlab.url,
            gitlab_token=seeder.service.token,
            secret_key="k" * 40,
            gitlab_application_id=application.id,
            gitlab_application_secret=application.secret,
            operators=f"nemo, {PEOPLE['operator'].upper()}",
            **settings,
        )
        self.project = seeder.project("tool")
        for name, level in _LEVELS.items():
            self.becomes(name, level)
        self.user_id(PEOPLE["stranger"])
        self.world = self._live()

    def _live(self) -> World:
        world = World(self.web.parts, accounts=2)
        # What people ask for on pages happens now.
        world.now = time.time()
        world.sees()
        world.goes_live()
        with self.web.parts.store.engine.begin() as connection:
            connection.execute(update(t.project).values(gitlab_id=self.project.id))
        return world

    def begins_anew(self) -> World:
        """All that happened is forgotten, but for the project and a live preview."""
        self.web.forget()
        self.world = self._live()
        return self.world

    def user_id(self, name: str) -> int:
        """GitLab's number of a user, who is made where there is none."""
        found = self.seeder.api("GET", f"/users?username={name}")
        if not found:
            email = f"{name}@elsewhere.example"
            found = [self.seeder.api("POST", "/users", username=name, name=name.title(), email=email)]
        return int(found[0]["id"])

    def becomes(self, name: str, level: int) -> None:
        """Give a user a role in the project."""
        members, user_id = f"/projects/{self.project.id}/members", self.user_id(name)
        if not any(one["id"] == user_id for one in self.seeder.api("GET", members)):
            self.seeder.api("POST", members, user_id=user_id, access_level=level)

    def leaves(self, name: str) -> None:
        """Take a user's role in the project away."""
        self.seeder.api("DELETE", f"/projects/{self.project.id}/members/{self.user_id(name)}")

    def visitor(self, who: str = "nobody") -> Visitor:
        """A browser of somebody of :data:`PEOPLE`, signed in."""
        made = Visitor(self.url)
        if PEOPLE[who]:
            made.signs_in(PEOPLE[who])
        return made

    def account(self) -> Account:
        """The second account, which nobody has."""
        return self.world.account(2)
