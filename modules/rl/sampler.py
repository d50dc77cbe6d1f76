"""Samples the responses of PPO, always at the temperature of the log-probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

from modules.config import RolloutWeights
from modules.model.backbone import Backbone
from modules.model.generate import Rollout, generate
from modules.runtime.distributed import place
from modules.runtime.phases import Phase, during


@dataclass(frozen=True)
class Sampler:
    """How responses are sampled; see `PPOConfig`."""

    max_new_tokens: int = 96
    temperature: float = 1.0
    rollout_batch_size: int = 64
    rollout_weights: RolloutWeights = "auto"

    @during(Phase.SAMPLING)
    def sample(
        self, backbone: Backbone, role: str, prompts: Sequence[list[int]], *, seed: int, copies: int = 1
    ) -> Rollout:
        """Answer this process's share of the prompts, each ``copies`` times."""
        return generate(
            backbone,
            role,
            [prompt for prompt in prompts for _ in range(copies)],
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            seed=seed,
            places=[place(i) * copies + copy for i in range(len(prompts)) for copy in range(copies)],
            batch_size=self.rollout_batch_size,
            weights=self.rollout_weights,
        )
