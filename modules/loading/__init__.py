"""What is seen of a model once it is loaded, before anything is trained on it: that it runs, and as the trainers expect."""

from modules.loading.cache import RoomyLayer, new_cache
from modules.loading.forward import check_forward
from modules.loading.lengths import check_lengths
from modules.loading.output import output_logits
from modules.loading.report import check_report
from modules.loading.vocabulary import check_vocabulary

__all__ = [
    "RoomyLayer",
    "check_forward",
    "check_lengths",
    "check_report",
    "check_vocabulary",
    "new_cache",
    "output_logits",
]
