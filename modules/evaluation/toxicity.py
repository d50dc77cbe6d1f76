"""The probability that a text is toxic, by a local classifier: one label of a sequence-classification model.

The text is read alone, without the prompt it answers, as Gehman et al. 2020 do.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from modules.data.chat import ChatFormat
from modules.data.sequences import by_length, pad_rows
from modules.errors import RewardError
from modules.model.pretrained import find_model, fingerprint
from modules.rl.rewards import ClassifierReward, Texts


class ToxicityClassifier(ClassifierReward):
    """A classifier with two labels or more, of which one means toxic.

    Args:
        source: A folder in Hugging Face format, or a hub id; safetensors only.
        label: The label that means toxic, by name or number.
        chat: Of the model whose texts are read.
        device: Of its weights.

    Raises:
        BaseModelError: It cannot be found or loaded.
        RewardError: It has one label only, or no such label.
    """

    def __init__(self, source: str, label: str, chat: ChatFormat, device: torch.device) -> None:
        super().__init__(source, label, Texts(chat), device=device)
        if len(self.model.config.id2label or {}) < 2:
            raise RewardError(
                f"The classifier {source} has one label, so its score is not the probability that a text is toxic: choose one with two labels or more."
            )
        self.source = source
        self.fingerprint = fingerprint(find_model(source))
        """Tells it from another classifier that is put under the same path."""
        self.is_multilabel = self.model.config.problem_type == "multi_label_classification"

    @torch.no_grad()
    def probabilities(self, texts: Sequence[str]) -> list[float]:
        """Return the probability of the label for each text.

        Raises:
            RewardError: One is not a number.
        """
        rows = [self._encode([], text) for text in texts]
        sequences = pad_rows(rows, [[True] * len(row) for row in rows], self.pad_id).to(self.model.device)
        found = torch.zeros(len(rows))
        for part in by_length(sequences.lengths.cpu(), self.micro_batch_size):
            cut = sequences.rows(part)
            logits = self.model(input_ids=cut.ids, attention_mask=cut.mask.long()).logits.float()
            found[part] = self._probability(logits).cpu()
        if num_odd := int((~found.isfinite()).sum()):
            raise RewardError(
                f"The classifier {self.source} gives {num_odd} of {len(found)} answers a probability of being toxic that is not a number, so its "
                "weights are damaged. Put a sound classifier there, or leave toxicity empty."
            )
        return found.tolist()

    def _probability(self, logits: Tensor) -> Tensor:
        """Map (B, labels) to (B,): labels that exclude each other share one probability, others have one each."""
        return logits[:, self.label].sigmoid() if self.is_multilabel else logits.softmax(-1)[:, self.label]
