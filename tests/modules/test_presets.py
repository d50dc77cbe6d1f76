"""Presets parse, and each fits its hardware with the size of model that it is meant for."""

import pytest

from modules.config import FRESH, STAGES, settle
from modules.config.presets import FIRST_LOOK, HARDWARE, SHORT, preset
from modules.memory import Sizes, estimate, worst_load

SHAPES = {0.2: (768, 2048, 16, 32_000), 1.5: (1536, 8960, 28, 152_000), 3: (2560, 8960, 32, 128_000),
          7: (4096, 11008, 32, 32_000), 13: (5120, 13824, 40, 32_000)}  # fmt: skip
"""Billions of parameters to hidden size, inner size, layers and vocabulary of a Llama of that size."""


def llama(billions: float) -> Sizes:
    hidden, inner, layers, vocab = SHAPES[billions]
    layer = [(hidden, hidden)] * 4 + [(inner, hidden)] * 2 + [(hidden, inner)]
    return Sizes(hidden, inner, layers, hidden, hidden, vocab, tuple(layer * layers), 2 * vocab * hidden, True, 8192)


@pytest.mark.parametrize("hardware", HARDWARE)
@pytest.mark.parametrize("stage", ["sft", "reward", "ppo"])
def test_a_preset_fits_its_hardware(stage, hardware):
    sft = STAGES["sft"].model_validate(preset("sft", hardware))
    config = settle(STAGES[stage].model_validate(preset(stage, hardware)), {name: getattr(sft, name) for name in FRESH})
    meant = HARDWARE[hardware]
    sizes = llama(meant.billions)
    gpu_bytes = 0 if hardware == "cpu" else meant.gib * 2**30
    found = estimate(config, sizes, worst_load(config, sizes), is_cpu=hardware == "cpu", gpu_bytes=gpu_bytes)
    assert found.total / 2**30 + 0.7 < 0.95 * meant.gib, {n: round(c / 2**30, 2) for n, c in found.parts.items()}


def test_a_first_look_is_short_reaches_a_measurement_and_goes_with_every_hardware():
    assert preset("reward", FIRST_LOOK) == {}
    for stage, short in SHORT.items():
        for hardware in HARDWARE:
            STAGES[stage].model_validate(preset(stage, hardware) | preset(stage, FIRST_LOOK))
        usual, first = STAGES[stage](), STAGES[stage].model_validate(short)
        assert first != usual
    usual, first = STAGES["ppo"](), STAGES["ppo"].model_validate(SHORT["ppo"])
    assert 10 * first.iterations * first.batch_size <= usual.iterations * usual.batch_size
    assert first.value_warmup < first.eval_every < first.iterations, "it learns, and is measured on the way"
