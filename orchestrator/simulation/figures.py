"""What came of a simulation: waiting times, use of slots and accounts, the bound that no plan beats."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Waits:
    """Half, 95 and 99 of a hundred waited at most so many seconds."""

    median: float
    most: float
    nearly_all: float


@dataclass(frozen=True)
class Figures:
    """One run."""

    accounts: int
    slots: int
    #: How the deployments ended: passed, build, start, check, full, refused, superseded, closed.
    ends: Mapping[str, int]
    #: From arrival to the begin of the build, and to the verdict; of people and of bots.
    to_build: Mapping[str, Waits]
    to_verdict: Mapping[str, Waits]
    #: From the image to the address, on accounts that are shared.
    for_address: Waits
    #: Previews that were taken down because somebody waited, and because the next image did not fit beside.
    made_room: int
    cleaned_first: int
    #: Shares of the time until the last verdict.
    slots_used: float
    accounts_used: float
    #: Seconds from the first arrival to the last verdict, and the least that any plan could need.
    makespan: float
    bound: float
    #: Deployments that waited at the same time, at most.
    longest_line: int

    @property
    def arrived(self) -> int:
        """How many came."""
        return sum(self.ends.values())


def waits(seconds: Sequence[float]) -> Waits:
    """Of how long each waited; all zero when nobody did."""
    ordered = sorted(seconds)
    if not ordered:
        return Waits(0.0, 0.0, 0.0)
    # The smallest value that so many do not exceed.
    median, most, nearly_all = (ordered[-(-len(ordered) * share // 100) - 1] for share in (50, 95, 99))
    return Waits(median, most, nearly_all)


class Tally:
    """Figures in the making."""

    def __init__(self) -> None:
        self.ends: Counter[str] = Counter()
        self.made_room = 0
        self.cleaned_first = 0
        self.longest_line = 0
        self._to_build = {"people": array("d"), "bots": array("d")}
        self._to_verdict = {"people": array("d"), "bots": array("d")}
        self._for_address = array("d")
        #: Of each deployment that was built: when it came, seconds of a slot, seconds of an account.
        self._came = array("d")
        self._of_slot = array("d")
        self._of_account = array("d")
        self._soonest = 0.0
        self._first: float | None = None
        self._last = 0.0
        self._since = 0.0
        self._used = [0.0, 0.0]
        self._used_at_last = [0.0, 0.0]

    def arrives(self, now: float) -> None:
        """Somebody came."""
        if self._first is None:
            self._first = self._since = self._last = now

    def passes(self, now: float, building: int, leased: int) -> None:
        """So many builds ran, and so many accounts were not free, from the last time until now."""
        self._used[0] += (now - self._since) * building
        self._used[1] += (now - self._since) * leased
        self._since = now

    def waited_for_address(self, seconds: float) -> None:
        """One had its image for so long before the address was its turn."""
        self._for_address.append(seconds)

    def verdict(
        self,
        end: str,
        now: float,
        *,
        came: float,
        started: float,
        is_bot: bool,
        of_slot: float,
        of_account: float,
        alone: float,
    ) -> None:
        """One ended with a verdict.

        No plan could have spared it `of_slot` and `of_account` seconds, nor given the verdict sooner than
        `alone` seconds after it came.
        """
        self.ends[end] += 1
        who = "bots" if is_bot else "people"
        self._to_build[who].append(started - came)
        self._to_verdict[who].append(now - came)
        self._came.append(came)
        self._of_slot.append(of_slot)
        self._of_account.append(of_account)
        self._soonest = max(self._soonest, came + alone)
        self._last = now
        self._used_at_last = list(self._used)

    def figures(self, *, accounts: int, slots: int, spared_seconds: float) -> Figures:
        """What came of it; each account is spared its last cleaning of `spared_seconds`."""
        first = self._first or 0.0
        makespan = self._last - first
        order = sorted(range(len(self._came)), key=self._came.__getitem__)
        bound = max(
            self._least(order, self._of_slot, slots),
            self._least(order, self._of_account, accounts) - spared_seconds,
            self._soonest,
            first,
        )
        return Figures(
            accounts=accounts,
            slots=slots,
            ends=dict(self.ends),
            to_build={who: waits(seconds) for who, seconds in self._to_build.items()},
            to_verdict={who: waits(seconds) for who, seconds in self._to_verdict.items()},
            for_address=waits(self._for_address),
            made_room=self.made_room,
            cleaned_first=self.cleaned_first,
            slots_used=self._used_at_last[0] / (makespan * slots) if makespan else 0.0,
            accounts_used=self._used_at_last[1] / (makespan * accounts) if makespan else 0.0,
            makespan=makespan,
            bound=bound - first,
            longest_line=self.longest_line,
        )

    def _least(self, order: Sequence[int], work: Sequence[float], servers: int) -> float:
        """When the work can be done at the earliest: as if all servers worked on whatever is there."""
        done = 0.0
        for number in order:
            done = max(done, self._came[number]) + work[number] / servers
        return done
