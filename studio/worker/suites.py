"""Measures a trainer's policy on fixed items of suites at each evaluation; its curves stand next to the loss. Loads torch.

The same items, read by the same scorer as the stage evaluate; nothing is sampled, and no random number is drawn, so training goes on
as it would without it.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback

from modules.errors import DataError
from modules.evaluation import items
from modules.evaluation.likelihood import log_likelihoods, measuring
from modules.model.backbone import Backbone
from modules.ppo import PPOModule
from studio.evaluation.measures import MEASURES
from studio.evaluation.suites import Suite
from studio.runs import metrics
from studio.runs.runs import Run
from studio.workspace import Workspace


class SuitesCallback(Callback):
    """Logs each suite's first measure as ``suite/<name>`` whenever held-out data are measured.

    Args:
        ws, run: Where it logs.
        suites: Of likelihoods, with the items that are measured.
    """

    def __init__(self, ws: Workspace, run: Run, suites: Sequence[Suite]) -> None:
        self._ws, self._run, self._suites = ws, run, suites

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Measure and log, at the module's own step, and tell PPO what its tax budget asks for before it chooses.

        Raises:
            DataError: No item of that suite can be given to the model.
        """
        role = getattr(pl_module, "judged_role", "policy")
        found = {f"suite/{suite.name}": measure(pl_module.backbone, role, suite) for suite in self._suites}
        known = {name: value for name, value in found.items() if value is not None}
        if known:
            with self._ws.write() as db:
                metrics.add(db, self._run.id, pl_module.step_index, known)
        if isinstance(pl_module, PPOModule) and (asked := pl_module.selection.tax_suite):
            pl_module.suite_cost = self._cost(asked, known)

    def _cost(self, asked: str, known: dict[str, float]) -> float:
        """Return what the policy's score on a suite costs: less is better."""
        suite = next(each for each in self._suites if each.name == asked)
        if (value := known.get(f"suite/{asked}")) is None:
            raise DataError(
                f"tax_suite is {asked}, but none of its items can be given to the model. Choose another suite, or measure the tax "
                "by the held-out loss."
            )
        return -value if MEASURES[suite.kind][0].higher_is_better else value


def measure(backbone: Backbone, role: str, suite: Suite) -> float | None:
    """Return a suite's first measure of a role, as in the stage evaluate; None where no item can be given to the model."""
    kept, encoded = [], []
    for item in suite.items:
        try:
            encoded.append(
                items.requests(suite.kind, item, backbone.chat, suite.uses_template, backbone.context_length)
            )
            kept.append(item)
        except DataError:  # the template refuses it
            continue
    with measuring(backbone, role):
        values = iter(log_likelihoods(backbone, [part for texts in encoded for text in texts for part in text]))
    scores = []
    for item, texts in zip(kept, encoded, strict=True):
        logprobs = [sum(next(values) for _ in text) for text in texts]
        num_tokens = [sum(len(part.continuation) for part in text) for text in texts]
        scores.append(items.scores(suite.kind, item, logprobs, num_tokens))
    first = MEASURES[suite.kind][0]
    weights = [score.get(first.weight, 1.0) for score in scores]
    return fmean([float(first.of([score]) or 0.0) for score in scores], weights) if scores else None
