"""Pages for people: what a maintainer would see on GitLab.

Forms act as a local user of one's choice and go through the same operations as the REST API, so that rights,
events and refusals are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web

from deploy.local.gitlab import page_actions, page_views
from deploy.local.gitlab.answers import answer
from deploy.local.gitlab.api.errors import ApiError
from deploy.local.gitlab.model import MergeRequest, Project
from deploy.local.gitlab.templates import csrf_holds, page, stylesheet

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab

CHOSEN = "local_gitlab_user"


class Pages:
    """Projects, a project, a merge request and its forms."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def add_to(self, app: web.Application) -> None:
        """Put the addresses on the application."""
        place = r"/{namespace}/{name}"
        request_page = place + r"/-/merge_requests/{iid:\d+}"
        app.router.add_get("/", self._counted("GET /", self._projects))
        app.router.add_get("/-/local/style.css", self._style)
        app.router.add_get(r"/{namespace:[\w.-]+}", self._counted("GET /:namespace", self._namespace))
        app.router.add_get(place, self._counted("GET /:project", self._project))
        app.router.add_get(place + "/-/{kind:commit|commits|tree|blob|issues}/{tail:.*}", self._to_project)
        app.router.add_get(request_page, self._counted("GET /:merge_request", self._merge_request))
        app.router.add_get(request_page + "/{kind:diffs|commits|pipelines}", self._to_merge_request)
        app.router.add_post(request_page, self._counted("POST /:merge_request", self._act))

    def _counted(self, operation: str, handler: Any) -> Any:
        async def counted(request: web.Request) -> web.StreamResponse:
            return await answer(self._lab, request, operation, lambda: handler(request))

        return counted

    async def _style(self, request: web.Request) -> web.Response:
        return web.Response(text=stylesheet(), content_type="text/css")

    async def _projects(self, request: web.Request) -> web.Response:
        rows = [page_views.project_row(self._lab, project) for project in self._lab.store.projects]
        return page(request, "projects.html", title="Projects", rows=rows)

    async def _namespace(self, request: web.Request) -> web.Response:
        """The projects of a user or a group."""
        name = request.match_info["namespace"]
        owner = self._lab.find_user(name) or self._lab.find_group(name)
        if owner is None:
            raise web.HTTPNotFound(text="404: there is nobody of that name here\n")
        projects = self._lab.store.projects.by("namespace", name)
        rows = [page_views.project_row(self._lab, project) for project in projects]
        return page(request, "projects.html", title=f"{owner.name} (@{name})", rows=rows)

    def _found(self, request: web.Request) -> Project:
        path = f"{request.match_info['namespace']}/{request.match_info['name']}"
        project = self._lab.find_project(path)
        if project is None:
            raise web.HTTPNotFound(text="404: there is no such project here\n")
        return project

    async def _project(self, request: web.Request) -> web.Response:
        project = self._found(request)
        return page(request, "project.html", **await page_views.project(self._lab, project))

    async def _to_project(self, request: web.Request) -> web.Response:
        raise web.HTTPFound(f"/{self._found(request).full_path}")

    async def _to_merge_request(self, request: web.Request) -> web.Response:
        project, found = self._request(request)
        raise web.HTTPFound(f"/{project.full_path}/-/merge_requests/{found.iid}")

    def _request(self, request: web.Request) -> tuple[Project, MergeRequest]:
        project = self._found(request)
        found = self._lab.store.merge_requests.by("place", (project.id, int(request.match_info["iid"])))
        if not found:
            raise web.HTTPNotFound(text="404: there is no such merge request here\n")
        return project, found[0]

    async def _merge_request(
        self, request: web.Request, problem: str = "", status: int = 200
    ) -> web.Response:
        project, found = self._request(request)
        self._lab.merges.check_soon(found)
        values = await page_views.merge_request(self._lab, project, found)
        chosen = request.cookies.get(CHOSEN) or self._lab.store.users[found.author_id].username
        return page(request, "merge_request.html", status=status, problem=problem, chosen=chosen, **values)

    async def _act(self, request: web.Request) -> web.Response:
        """Do what a button says, as the chosen user, and show the page again."""
        project, found = self._request(request)
        form = await request.post()
        if not csrf_holds(request, form):
            return await self._merge_request(request, "The form is too old; try again.", 422)
        user = self._lab.find_user(str(form.get("user", "")))
        if user is None:
            return await self._merge_request(request, "Choose who acts.", 422)
        try:
            place = await page_actions.act(self._lab, user, project, found, form)
        except ApiError as error:
            return await self._merge_request(request, str(next(iter(error.body.values()))), error.status)
        location = urlsplit(str(request.rel_url)).path + place
        response = web.Response(status=303, headers={"Location": location})
        response.set_cookie(CHOSEN, user.username, httponly=True, samesite="Lax", path="/")
        return response
