"""Checks that a loaded model runs as the trainers expect, before anything is trained."""

from modules.model.loading.cache import FixedCache
from modules.model.loading.forward import check_forward
from modules.model.loading.lengths import check_lengths
from modules.model.loading.output import output_logits
from modules.model.loading.report import check_report
from modules.model.loading.vocabulary import check_vocabulary

__all__ = [
    "FixedCache",
    "check_forward",
    "check_lengths",
    "check_report",
    "check_vocabulary",
    "output_logits",
]
