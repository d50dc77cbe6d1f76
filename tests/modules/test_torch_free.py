import subprocess
import sys

import pytest

from modules.metrics import METRICS


@pytest.mark.parametrize(
    "name",
    [
        "modules.config",
        "modules.errors",
        "modules.metrics",
        "modules.data.chat",
        "modules.config.reward_terms",
        "modules.memory",
        "modules.config.presets",
    ],
)
def test_the_page_can_import_it_without_loading_torch(name: str) -> None:
    code = f"import sys, {name}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_metric_is_group_slash_name_and_has_a_sentence() -> None:
    for name, sentence in METRICS.items():
        group, _, rest = name.partition("/")
        assert group in {"train", "eval", "objective", "policy", "value", "rollout", "time"}
        assert rest.isidentifier()
        assert sentence.endswith(".")
