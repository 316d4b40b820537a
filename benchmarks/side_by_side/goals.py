"""What a figure has to reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from side_by_side.bench import Result


@dataclass(frozen=True, slots=True)
class Goal:
    """Ours, divided by what it is compared `to`, is to be at least or at most `bound`.

    `to` is None for an absolute bound. Where they are to be compared by their difference, it is ours less the other.
    """

    metric: str
    to: Literal["peer", "floor"] | None
    sense: Literal["at least", "at most"]
    bound: float
    by: Literal["ratio", "difference"] = "ratio"

    def reached(self, result: Result) -> float | None:
        """The ratio, the difference, or the figure itself; None where there is nothing to compare with."""
        if result.ours is None or self.to is None:
            return result.ours
        other: float | None = getattr(result, self.to)
        if other is not None and self.by == "difference":
            return result.ours - other
        return result.ours / other if other else None

    def is_met(self, reached: float) -> bool:
        return reached >= self.bound if self.sense == "at least" else reached <= self.bound

    def shortfall(self, reached: float) -> float:
        """By which share of the bound it is missed (by how much, where the bound is 0); 0 where it is met."""
        return 0.0 if self.is_met(reached) else abs(reached - self.bound) / (abs(self.bound) or 1)

    def __str__(self) -> str:
        if self.to is None:
            return f"{self.sense} {self.bound:.3g}"
        return f"{self.sense} {self.bound:.3g} {'above' if self.by == 'difference' else 'of'} the {self.to}"


def faster(metric: str, times: float) -> Goal:
    return Goal(metric, "peer", "at least", times)


def smaller(metric: str, share: float) -> Goal:
    return Goal(metric, "peer", "at most", share)


def above(metric: str, difference: float) -> Goal:
    return Goal(metric, "peer", "at least", difference, by="difference")
