"""A moving average of the policy's weights, as a separate role (InstructGPT used a decay of 0.992).

It varies less than the policy and is usually the better model. The policy's training is unaffected.
"""

import torch

from modules.model.backbone import Backbone


class EMA:
    """The average of the role ``policy``, starting as a copy.

    Args:
        backbone: With the role policy; gets the role ``ema``.
        decay: Share of the average that stays at each step.
    """

    role = "ema"

    def __init__(self, backbone: Backbone, decay: float) -> None:
        # A frozen full model would be kept in the base's number format, where small changes of an average are lost.
        backbone.add_role(self.role, copy_of="policy", trainable=backbone.method == "full")
        self.decay = decay
        own, policy = backbone.role_parameters(self.role), backbone.role_parameters("policy")
        self._pairs = [(own[name].requires_grad_(False), policy[name]) for name in own]

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the policy, after one of its steps."""
        for average, weight in self._pairs:
            average.lerp_(weight, 1 - self.decay)
