"""Everything with tensors: configs, chat templates, the shared backbone, losses, rollouts and the three trainers.

Shape letters, used in every docstring of this package:

    B  batch (rows)          P  prompt length in tokens
    R  response length       T  total length, T = P + R
    V  vocabulary size       H  hidden size

Masks are bool and True means keep; they are never derived from ``token == pad``. Log-probabilities, values, rewards and
losses are float32 whatever the weights are. This package knows no SQLite, no Gradio and no subprocess.
"""

import logging

# Lightning's advice on other products, and on hardware that the trainers here cannot use, is kept out of logs and notebooks.
logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
    lambda record: not any(words in record.getMessage() for words in ("Tip:", "TPU available"))
)
