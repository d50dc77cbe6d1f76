"""What is seen of a model once it is loaded, before anything is trained on it: that it runs, and as the trainers expect."""

from modules.loading.cache import RoomyLayer, new_cache
from modules.loading.forward import check_forward
from modules.loading.output import output_logits
from modules.loading.vocabulary import check_vocabulary

__all__ = ["RoomyLayer", "check_forward", "check_vocabulary", "new_cache", "output_logits"]
