"""The child processes of `tests.benchmarks.fit`: one writes a random model, the others measure a step each."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from modules.config import TrainConfig, settle
from studio.worker import probe, training

WORDS = "the fox and the hen went over the hill to see what the weather would bring to them on that day "


def write_model(folder: Path, tokenizer: Path, hidden: int, inner: int, layers: int, heads: int, vocab: int) -> None:
    """A random Llama with somebody else's tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        vocab_size=vocab,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    for file in tokenizer.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            shutil.copy(file, folder)


def measure(request: dict[str, Any]) -> dict[str, float]:
    """Peak of a stage on made-up rows; checkpoints that it would start from are fresh roles."""
    from tests.benchmarks import fit

    config = config_of(request)
    training.build = _build(request["base"])
    return probe.measure(fit.new_workspace(Path(request["folder"])), config, _rows(request["stage"], config.max_length))


def config_of(request: dict[str, Any]) -> TrainConfig:
    """The config of a line, settled as a checkpoint's settings would."""
    from tests.benchmarks import fit

    config = settle(fit._config(request["stage"], request["settings"]))
    return config.model_copy(update={"base_model": request["base"]}) if request["stage"] == "sft" else config


def _build(base: str) -> Any:
    """As `training.build`, with fresh roles in place of checkpoints."""

    def build(ws: Any, config: Any, rows: Any) -> Any:
        backbone = training.load_backbone(config, base, "auto")
        if config.__class__.__name__ == "SFTConfig":
            backbone.add_role("policy", trainable=True)
            data = training.sft_data(config, rows, backbone.chat)
            return training.SFTModule.from_config(config, backbone, num_steps=data.num_steps), data
        if config.__class__.__name__ == "RewardConfig":
            backbone.add_role("reward", trainable=True, head=True)
            data = training.reward_data(config, rows, backbone.chat)
            return training.RewardModule.from_config(config, backbone, num_steps=data.num_steps), data
        backbone.add_role("reference")
        backbone.add_role("policy", copy_of="reference", trainable=True)
        backbone.add_role("reward", head=True)
        backbone.add_role("value", copy_of="reward", trainable=True, head=True)
        data = training.ppo_data(config, rows, backbone.chat)
        return training.PPOModule.from_config(config, backbone), data

    return build


def _rows(stage: str, length: int) -> dict[str, list[dict[str, Any]]]:
    """Rows of one length, within so many tokens."""
    text = WORDS * (length // 80)
    rows: list[dict[str, Any]] = []
    for number in range(32):
        turn = {"role": "user", "content": f"{number} {text}"}
        row: dict[str, Any] = {"prompt_id": number, "category": "", "messages": [turn]}
        if stage == "sft":
            row["messages"] = [turn, {"role": "assistant", "content": text}]
        if stage == "reward":
            row |= {"chosen": text, "rejected": WORDS + "no", "target_p": 1.0, "margin": 0.0, "weight": 1.0}
        rows.append(row)
    return {"train": rows}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        write_model(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
    else:
        print(json.dumps(measure(json.load(sys.stdin))))
