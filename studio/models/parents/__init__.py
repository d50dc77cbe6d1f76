"""Takes over from checkpoints what belongs to the model, and refuses what contradicts it.

`traits` reads from a checkpoint's files what belongs to the model; `inherit` fills a config with it, and refuses settings
and sets of checkpoints that contradict it. Nothing here loads torch.
"""

from studio.models.parents.inherit import check_alike, check_resumed, fill, sentence
from studio.models.parents.traits import Traits, config_of, read

__all__ = ["Traits", "check_alike", "check_resumed", "config_of", "fill", "read", "sentence"]
