"""The line of those who wait for a build, and the order in which they get their turn. Pure.

A line may be kept from one plan to the next: to join, to leave and to see who comes first then cost the same
however many wait.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace

#: People who wait and bots who wait, of one project, each in the order in which they came.
_Queue = tuple[deque["Waiting"], deque["Waiting"]]


@dataclass(frozen=True)
class Waiting:
    """A deployment that waits for a build slot."""

    deployment_id: int
    preview_id: int
    project_id: int
    since: float
    is_bot: bool = False
    #: It needs an account only until its verdict, and may share it.
    check_only: bool = False
    #: Bytes of the image store that its build will take, by what the project's builds took before.
    needs_bytes: int = 0
    #: Somebody asked for it by a command: it is tried even where it cannot fit.
    is_asked_for: bool = False


@dataclass(frozen=True)
class Manners:
    """How those who wait let one another go first."""

    #: Seconds after which a waiting bot is treated like a person, so that nothing starves.
    ageing_seconds: float = 900.0
    #: Seconds after which whoever waits goes before everybody else, whatever their projects run.
    starving_seconds: float = 3600.0
    #: Share of a project in the turns; 1 where nothing is said.
    weights: Mapping[int, float] = field(default_factory=dict)

    def is_young_bot(self, waiting: Waiting, now: float) -> bool:
        """True while it lets the people of its project go first."""
        return waiting.is_bot and now - waiting.since < self.ageing_seconds

    def starves(self, waiting: Waiting, now: float) -> bool:
        """True when it has waited too long to wait for others."""
        return now - waiting.since >= self.starving_seconds


class Line(Collection[Waiting]):
    """Those who wait."""

    def __init__(self, waiting: Iterable[Waiting] = ()) -> None:
        self._waiting: dict[int, Waiting] = {}
        self._by_preview: dict[int, Waiting] = {}
        self._all: deque[Waiting] = deque()
        self._queues: dict[int, _Queue] = {}
        self._largest: list[tuple[int, int]] = []
        for one in sorted(waiting, key=lambda one: one.since):
            self.join(one)

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._waiting.values())

    def __contains__(self, waiting: object) -> bool:
        return isinstance(waiting, Waiting) and self._waiting.get(waiting.deployment_id) == waiting

    def join(self, waiting: Waiting) -> None:
        """Queue up; `waiting` has come no earlier than those who are there."""
        self._waiting[waiting.deployment_id] = waiting
        self._by_preview[waiting.preview_id] = waiting
        self._all.append(waiting)
        queue = self._queues.setdefault(waiting.project_id, (deque(), deque()))
        queue[waiting.is_bot].append(waiting)
        if not waiting.is_asked_for:
            heappush(self._largest, (-waiting.needs_bytes, waiting.deployment_id))

    def leave(self, deployment_id: int) -> Waiting:
        """Its turn has come, or it waits no more."""
        waiting = self._waiting.pop(deployment_id)
        if self._by_preview.get(waiting.preview_id) is waiting:
            del self._by_preview[waiting.preview_id]
        # Who left from the middle is passed over until those before it have left, too.
        people, bots = self._queues[waiting.project_id]
        for queue in (self._all, people, bots):
            while queue and queue[0].deployment_id not in self._waiting:
                queue.popleft()
        if not people and not bots:
            del self._queues[waiting.project_id]
        return waiting

    def of_preview(self, preview_id: int) -> Waiting | None:
        """The newest of a preview that waits."""
        return self._by_preview.get(preview_id)

    def larger_than(self, size: int) -> list[Waiting]:
        """Whose build would take more than `size` bytes, but for those that were asked for."""
        found = []
        while self._largest and (-self._largest[0][0] > size or self._largest[0][1] not in self._waiting):
            entry = heappop(self._largest)
            if entry[1] in self._waiting:
                found.append(entry)
        for entry in found:
            heappush(self._largest, entry)
        return [self._waiting[deployment_id] for _, deployment_id in found]

    def turns(self, building: Mapping[int, int], manners: Manners, now: float) -> Iterator[Waiting]:
        """Those who wait in the order in which they get their turn; nobody may join or leave meanwhile.

        Who starves comes first. Then projects take turns, the one with the fewest builds for its weight first
        (`building` says how many each runs); within a project people go before bots, and then first come,
        first served.
        """
        load = Counter(building)
        for waiting in self._starving(manners, now):
            yield waiting
            load[waiting.project_id] += 1
        heap = []
        for project_id, queue in self._queues.items():
            rest = self._rest(queue, manners, now)
            first = next(rest, None)
            if first is not None:
                heap.append((*_turn(first, load, manners, now), project_id, first, rest))
        heapify(heap)
        while heap:
            *_, project_id, waiting, rest = heap[0]
            yield waiting
            load[project_id] += 1
            following = next(rest, None)
            if following is None:
                heappop(heap)
            else:
                heapreplace(heap, (*_turn(following, load, manners, now), project_id, following, rest))

    def _starving(self, manners: Manners, now: float) -> Iterator[Waiting]:
        for waiting in self._all:
            if not manners.starves(waiting, now):
                return
            if waiting.deployment_id in self._waiting:
                yield waiting

    def _rest(self, queue: _Queue, manners: Manners, now: float) -> Iterator[Waiting]:
        """A project's turns but for those who starve: people and aged bots as they came, then young bots."""
        people, bots = (self._not_starving(one, manners, now) for one in queue)
        person, bot = next(people, None), next(bots, None)
        while person is not None or bot is not None:
            bot_is_first = bot is not None and (
                person is None or (not manners.is_young_bot(bot, now) and bot.since < person.since)
            )
            if bot_is_first and bot is not None:
                yield bot
                bot = next(bots, None)
            elif person is not None:
                yield person
                person = next(people, None)

    def _not_starving(self, queue: deque[Waiting], manners: Manners, now: float) -> Iterator[Waiting]:
        return (one for one in queue if one.deployment_id in self._waiting and not manners.starves(one, now))


def _turn(
    waiting: Waiting, load: Mapping[int, int], manners: Manners, now: float
) -> tuple[float, bool, float]:
    """The key by which a project's next turn is compared with the others'."""
    share = load[waiting.project_id] / manners.weights.get(waiting.project_id, 1.0)
    return share, manners.is_young_bot(waiting, now), waiting.since
