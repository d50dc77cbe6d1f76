"""Chooses the policy that a PPO run hands on: the best held-out score within a budget; no torch.

The last policy is rarely the one to keep: its score keeps rising while it leaves the language it started from (Gao et al.
2023). The start is measured too and costs nothing, so a run never hands on anything worse than its start.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Measured(NamedTuple):
    """A policy's held-out figures."""

    step: int
    score: float
    kl: float
    loss: float | None
    """What the tax budget limits: the loss on held-out demonstrations, in nats per token (on those left out of PPO where there are
    any, else on all), or a suite's score, turned so that less is better."""


@dataclass
class Selection:
    """The choice so far; without a budget the last policy is handed on.

    Attributes:
        kl_budget: Greatest KL per held-out response, in nats; 0 for no limit.
        tax_budget: Greatest rise of the held-out loss as a share of the start's, or fall of the suite's score; 0 for no limit.
        tax_suite: Name of the suite that is measured for it; empty for the held-out loss.
        start_loss: Loss or cost of the first policy measured.
        best: The choice, if any policy was within the budgets.
    """

    kl_budget: float = 0.0
    tax_budget: float = 0.0
    tax_suite: str = ""
    start_loss: float | None = None
    best: Measured | None = None

    @property
    def is_on(self) -> bool:
        """True with a budget."""
        return self.kl_budget > 0 or self.tax_budget > 0

    def consider(self, step: int, metrics: Mapping[str, float], suite_cost: float | None = None) -> None:
        """Take account of a held-out measurement; on equal scores the earlier policy stays.

        Args:
            step: Of the policy.
            metrics: Its held-out figures.
            suite_cost: Its score on `tax_suite`, turned so that less is better; without it such a budget chooses nothing.
        """
        if "eval/score" not in metrics or (self.tax_suite and suite_cost is None):
            return
        loss = suite_cost if self.tax_suite else metrics.get("eval/tax_loss", metrics.get("eval/demonstration_loss"))
        if self.start_loss is None and loss is not None and math.isfinite(loss):
            self.start_loss = loss
        found = Measured(step, metrics["eval/score"], metrics["eval/kl"], loss)
        is_better = self.best is None or found.score > self.best.score
        if self.is_on and is_better and self._is_within(found):
            self.best = found

    def sentence(self) -> str:
        """Return the choice and its reason, for people; empty without a budget."""
        if not self.is_on:
            return ""
        limits = [f"{self.kl_budget:g} nats of KL"] if self.kl_budget else []
        tax = f"worse on {self.tax_suite}" if self.tax_suite else "more held-out loss"
        limits += [f"{self.tax_budget:.1%} {tax}"] if self.tax_budget else []
        budget = " and ".join(limits)
        if self.best is None:
            return f"No policy that was measured kept within {budget}, so the last one is handed on."
        figures = f"score {self.best.score:.3g}, KL {self.best.kl:.3g} nats"
        start = " (the start)" if self.best.step == 0 else ""
        return f"Step {self.best.step}{start} is handed on: the best held-out score within {budget} ({figures})."

    def state(self) -> dict[str, Any]:
        """Return what has been measured, as JSON values; budgets belong to the config."""
        return {"start_loss": self.start_loss, "best": None if self.best is None else self.best._asdict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned; a choice that is not within today's budgets is dropped."""
        self.start_loss = state["start_loss"]
        best = None if state["best"] is None else Measured(**state["best"])
        self.best = best if best is not None and self.is_on and self._is_within(best) else None

    def _is_within(self, found: Measured) -> bool:
        if not all(math.isfinite(figure) for figure in found if figure is not None):
            return False
        if self.kl_budget > 0 and found.kl > self.kl_budget:
            return False
        if self.tax_budget > 0 and found.loss is not None and self.start_loss is not None:
            return found.loss <= self.start_loss + self.tax_budget * abs(self.start_loss)
        return True
