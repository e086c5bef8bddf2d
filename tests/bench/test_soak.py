"""What a soak measures, and a short one through the whole stack: it ends by itself, true and clean."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from bench.faults import Faults
from bench.soak import Sample, growth, sample, slope, soak


def test_a_slope_is_that_of_the_line_through_the_points() -> None:
    assert slope([0.0, 1.0, 2.0], [5.0, 7.0, 9.0]) == pytest.approx(2.0)
    assert slope([0.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0]) == 0.0
    assert slope([0.0, 1.0], [0.0, 9.0]) == 0.0
    assert slope([1.0, 1.0, 1.0], [0.0, 1.0, 2.0]) == 0.0


def test_growth_is_that_of_the_newest_process_alone() -> None:
    old = [Sample(60.0 * minute, 1, 900.0 * minute, 5) for minute in range(5)]
    new = [Sample(300.0 + 60.0 * minute, 2, 100.0 + 3.0 * minute, 7 + minute) for minute in range(5)]
    assert growth([*old, *new]) == (pytest.approx(3.0), pytest.approx(1.0))
    assert growth([]) == (0.0, 0.0)


def test_a_sample_is_of_a_real_process() -> None:
    seen = sample(os.getpid())
    assert seen.mib > 5
    assert seen.files >= 3


def test_the_same_seed_chooses_the_same_faults_and_none_kills_in_the_second_half() -> None:
    class Noted(Faults):
        def _note(self, name: str) -> str:
            self.names.append(name)
            return name

        names: list[str]

    def chosen(*, kills: bool) -> list[str]:
        faults = Noted(None, random.Random(5))  # type: ignore[arg-type]
        faults.names = []
        for name in (
            *("_gateway", "_service", "_gitlab", "_delivery", "_freeze"),
            *("_empty_redis", "_lock_database", "_kill", "_kill_redis"),
        ):
            setattr(faults, name, lambda name=name: faults._note(name))
        for _ in range(200):
            faults.strike(kills=kills)
        return faults.names

    assert chosen(kills=True) == chosen(kills=True)
    assert {"_kill", "_kill_redis"} <= set(chosen(kills=True))
    assert not {"_kill", "_kill_redis"} & set(chosen(kills=False))


def test_a_short_soak_ends_true_and_clean() -> None:
    found = soak(0.4, seed=20261130)
    assert found.wrong == []
    assert sum(found.faults.values()) >= 3
    counted: dict[str, Any] = found.counts
    assert counted["preview"] > 0
    assert counted["lease"] > 0
