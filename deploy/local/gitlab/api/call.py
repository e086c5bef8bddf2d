"""One REST request while it is being answered: its parameters, who asks, and what they may see."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from deploy.local.gitlab import auth
from deploy.local.gitlab.api.errors import bad_parameter, forbidden, not_found, unauthorized
from deploy.local.gitlab.api.routes import Operation
from deploy.local.gitlab.model import AccessLevel, Hook, MergeRequest, Note, Project, User

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab

MAX_PER_PAGE = 100
#: GitLab leaves the totals out of longer lists.
MOST_COUNTED = 10_000
MAX_ID = 2**31 - 1


@dataclass(slots=True)
class Reply:
    """An answer that is more than 200 with JSON."""

    body: Any
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)


NO_CONTENT = Reply(None, 204)


@dataclass(slots=True)
class Call:
    """`path` holds the values of the URL, `params` the query and the body together."""

    lab: Lab
    operation: Operation
    url: str
    path: dict[str, str]
    query: dict[str, Any]
    params: dict[str, Any]
    identity: auth.Identity | None

    @property
    def user(self) -> User:
        """Who asks; 401 when nobody known does."""
        if self.identity is None:
            raise unauthorized()
        return self.identity.user

    def require(self, *names: str) -> list[Any]:
        """Values of parameters that must be there; 400 naming the missing ones."""
        missing = [name for name in names if self.params.get(name) is None]
        if missing:
            raise bad_parameter(", ".join(f"{name} is missing" for name in missing))
        return [self.params[name] for name in names]

    def text(self, name: str, default: str = "") -> str:
        """A parameter as text."""
        value = self.params.get(name)
        return default if value is None else str(value)

    def boolean(self, name: str, default: bool = False) -> bool:
        """A parameter as true or false, however it was written."""
        value = self.params.get(name)
        if value is None or value == "":
            return default
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "1", "t", "yes", "on"):
            return True
        if str(value).lower() in ("false", "0", "f", "no", "off"):
            return False
        raise bad_parameter(f"{name} is invalid")

    def number(self, name: str, default: int | None = None) -> int:
        """A parameter as a whole number; 400 when it is none."""
        value = self.params.get(name, default)
        if value is None:
            raise bad_parameter(f"{name} is missing")
        try:
            return int(value)
        except (TypeError, ValueError):
            raise bad_parameter(f"{name} is invalid") from None

    def words(self, name: str) -> list[str]:
        """A parameter that is a list, or a text with commas."""
        value = self.params.get(name)
        if value is None:
            return []
        items = value if isinstance(value, list) else str(value).split(",")
        return [str(item).strip() for item in items if str(item).strip()]

    def choice(self, name: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        """A parameter out of a fixed set; 400 for anything else."""
        value = self.params.get(name, default)
        if value is None:
            raise bad_parameter(f"{name} is missing")
        if value not in allowed:
            raise bad_parameter(f"{name} does not have a valid value")
        return str(value)

    def number_in_path(self, name: str) -> int:
        """A number in the URL; 400 when it is none, as GitLab says."""
        value = self.path[name]
        if not value.isdecimal() or int(value) > MAX_ID:
            raise bad_parameter(f"{name} is invalid")
        return int(value)

    def project(self, least: int = AccessLevel.NONE) -> Project:
        """The project of the URL, if it can be seen (404) and the rights suffice (403)."""
        project = self.lab.find_project(self.path["id"])
        user = self.identity.user if self.identity else None
        if project is None or not auth.can_read(self.lab.store, project, user):
            raise not_found("Project")
        if least and auth.level(self.lab.store, project, user) < least:
            raise forbidden() if user else unauthorized()
        return project

    def merge_request(self, project: Project) -> MergeRequest:
        """The merge request of the URL; 404 when the project has no such one."""
        iid = self.number_in_path("iid")
        found = self.lab.store.merge_requests.by("place", (project.id, iid))
        if not found:
            raise not_found()
        return found[0]

    def note(self, merge_request: MergeRequest) -> Note:
        """The note of the URL; 404 when the merge request has no such one."""
        note = self.lab.store.notes.get(self.number_in_path("note_id"))
        if note is None or note.merge_request_id != merge_request.id or note.event:
            raise not_found("Note")
        return note

    def hook(self, project: Project) -> Hook:
        """The webhook of the URL; 404 when the project has no such one."""
        hook = self.lab.store.hooks.get(self.number_in_path("hook_id"))
        if hook is None or hook.project_id != project.id:
            raise not_found()
        return hook

    def page(self, items: list[Any], present: Any) -> Reply:
        """One page of a list with GitLab's paging headers (offset pagination); `present` renders an item."""
        number = max(1, self.number("page", 1))
        size = min(MAX_PER_PAGE, max(1, self.number("per_page", 20)))
        total, pages = len(items), max(1, -(-len(items) // size))
        shown = [present(item) for item in items[(number - 1) * size : number * size]]
        following = number + 1 if number < pages else None
        previous = number - 1 if 1 < number <= pages + 1 else None
        counted = total <= MOST_COUNTED
        last = pages if counted else None
        headers = {
            "x-page": str(number),
            "x-per-page": str(size),
            "x-next-page": str(following or ""),
            "x-prev-page": str(previous or ""),
            "Link": self._links(size, {"prev": previous, "next": following, "first": 1, "last": last}),
        }
        if counted:
            headers |= {"x-total": str(total), "x-total-pages": str(pages)}
        return Reply(shown, headers=headers)

    def keyset_page(self, items: list[Any], present: Any) -> Reply:
        """One page of a list by id, newest first or (`sort=asc`) last; the next one is in `Link` only."""
        size = min(MAX_PER_PAGE, max(1, self.number("per_page", 20)))
        ascending = self.choice("sort", ("asc", "desc"), "desc") == "asc"
        key = "id_after" if ascending else "id_before"
        if key in self.params:
            edge = self.number(key)
            items = [item for item in items if (item.id > edge if ascending else item.id < edge)]
        items = sorted(items, key=lambda item: item.id, reverse=not ascending)
        headers = {}
        if len(items) > size:
            query = {**self.query, key: items[size - 1].id, "per_page": size}
            headers["Link"] = f'<{self.url}?{urlencode(query, doseq=True)}>; rel="next"'
        return Reply([present(item) for item in items[:size]], headers=headers)

    def _links(self, size: int, pages: dict[str, int | None]) -> str:
        kept = {key: value for key, value in self.query.items() if key not in ("page", "per_page")}
        return ", ".join(
            f'<{self.url}?{urlencode({**kept, "page": number, "per_page": size}, doseq=True)}>; rel="{name}"'
            for name, number in pages.items()
            if number is not None
        )
