"""What it gains that check-only deployments share accounts: the simulator, with and without.

Run with ``make bench-sharing``. ADR 7 quotes the figures.

1. Eleven check-only merge requests of as many projects at once on three accounts.
2. Mixed loads: four weeks of people and of bot storms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from orchestrator.scheduler import Limits
from orchestrator.simulation.arrivals import Arrival
from orchestrator.simulation.figures import Figures
from orchestrator.simulation.loads import Load, made_up
from orchestrator.simulation.run import Pool, Simulation

_MIB = 2**20
_STORM_AT = 86400.0


def main() -> None:
    """Simulate and print."""
    eleven()
    mixed()


def eleven() -> None:
    """The storm alone; every project has been built before, so that the size of its image is known."""
    print("Eleven check-only merge requests at once, three accounts, builds of 150 s, checks of 25 s,")
    print("cleanings of 20 s; seconds until the last verdict")
    print("image MiB  builds at once  shared  alone  ratio  longest wait for an address")
    for image_mib in (50, 150, 250, 400):
        for slots in (3, 6, 12):
            pool = Pool(accounts=3, limits=Limits(max_concurrent_builds=slots))
            shared, alone = _both(pool, lambda size=image_mib: _storm(size))  # type: ignore[misc]
            spans = [figures.makespan - _STORM_AT for figures in (shared, alone)]
            print(
                f"{image_mib:9} {slots:15} {spans[0]:7.0f} {spans[1]:6.0f} {spans[1] / spans[0]:6.2f}"
                f" {shared.for_address.nearly_all:7.0f}"
            )


def mixed() -> None:
    """Weeks of people who review and bots that want verdicts."""
    load = Load(days=28.0, people_a_day=40.0, storms_a_day=4.0, storm_size=22)
    print("\n28 days with 40 merge requests of people and 4 storms of 22 check-only ones a day: wait for the")
    print(
        "in minutes of people and of bots (half / 95 of 100), shared -> alone, and the seconds that 95 of 100"
    )
    print("on a shared account waited for its address")
    print("accounts  builds at once  people                       bots                         address")
    for accounts in (2, 3, 4, 6, 8, 10):
        for slots in (3, 6, 12):
            pool = Pool(accounts=accounts, limits=Limits(max_concurrent_builds=slots))
            both = _both(pool, lambda: made_up(load, 1))
            cells = [" -> ".join(_minutes(figures, who) for figures in both) for who in ("people", "bots")]
            print(f"{accounts:8} {slots:15}  {cells[0]:28} {cells[1]:28} {both[0].for_address.most:5.0f}")


def _both(pool: Pool, arrivals: Callable[[], Iterable[Arrival]]) -> tuple[Figures, Figures]:
    shared, alone = (Simulation(replace(pool, shares=shares)).run(arrivals()) for shares in (True, False))
    return shared, alone


def _storm(image_mib: int) -> Iterator[Arrival]:
    for project in range(11):
        yield Arrival(1000.0 * project, f"project-{project}", 1, True, True, 1.0, image_mib * _MIB)
    for project in range(11):
        yield Arrival(_STORM_AT, f"project-{project}", 2, True, True, 150.0, image_mib * _MIB)


def _minutes(figures: Figures, who: str) -> str:
    waits = figures.to_verdict[who]
    return f"{waits.median / 60:.1f} / {waits.most / 60:.1f}"


if __name__ == "__main__":
    main()
