"""Which of its figures a checkpoint is judged by, stage by stage, so that checkpoints of one stage stand next to each other."""

from typing import NamedTuple

from modules.metrics import sentence
from studio.models.checkpoints import Checkpoint


class Figure(NamedTuple):
    """A metric of a stage's checkpoints."""

    metric: str
    words: str

    @property
    def sentence(self) -> str:
        """What it means."""
        return sentence(self.metric)

    @property
    def is_low_best(self) -> bool:
        """Whether less is better."""
        return self.metric.endswith("loss")

    @property
    def bounds(self) -> tuple[str, str]:
        """The metrics of its 95 % interval, where it has one."""
        return f"{self.metric}_low", f"{self.metric}_high"


STAGES: dict[str, tuple[Figure, ...]] = {
    "sft": (Figure("eval/loss", "held-out loss"), Figure("eval/perplexity", "perplexity")),
    "reward": (
        Figure("eval/accuracy", "held-out accuracy"),
        Figure("eval/ece", "calibration error"),
        Figure("eval/loss", "held-out loss"),
        Figure("eval/length_correlation", "score and length"),
    ),
    "ppo": (
        Figure("eval/score", "held-out score"),
        Figure("eval/kl", "KL"),
        Figure("eval/demonstration_loss", "loss on demonstrations"),
        Figure("eval/response_tokens", "tokens"),
    ),
    "dpo": (
        Figure("eval/accuracy", "held-out accuracy"),
        Figure("eval/margin", "margin"),
        Figure("eval/loss", "held-out loss"),
    ),
}
"""In the order in which they are read; the first is the one that a checkpoint is known by."""


def of(found: Checkpoint) -> list[Figure]:
    """Return the figures that a checkpoint has, in their order."""
    return [figure for figure in STAGES.get(found.stage, ()) if figure.metric in found.metrics]
