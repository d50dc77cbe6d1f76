"""A tiny random model with a word-level tokenizer, made once, and ways to run a trainer's step alone."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.loggers.logger import Logger
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from modules.model.backbone import Backbone

SPECIAL = ["<pad>", "<s>", "</s>", "<user>", "<assistant>", "<unk>"]
PAD, BOS, END, USER, ASSISTANT, UNKNOWN = range(6)
WORDS = [f"w{i}" for i in range(90)]
VOCAB = len(SPECIAL) + len(WORDS)
TEMPLATE = (
    "<s>{% for m in messages %} <{{ m['role'] }}> {{ m['content'] }} </s>{% endfor %}"
    "{% if add_generation_prompt %} <assistant>{% endif %}"
)


def tiny_tokenizer(chat_template: str | None = TEMPLATE, pad_token: str = "<pad>") -> PreTrainedTokenizerFast:
    vocab = {word: index for index, word in enumerate([*SPECIAL, *WORDS])}
    core = Tokenizer(WordLevel(vocab, unk_token="<unk>"))
    core.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=pad_token,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens=["<user>", "<assistant>"],
        chat_template=chat_template,
    )


def write_model(folder: Path, *, seed: int = 0, intermediate_size: int = 128, **tokenizer_options: Any) -> Path:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=64,
        intermediate_size=intermediate_size,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=END,
        tie_word_embeddings=True,
        initializer_range=0.15,  # far from uniform, so that tests tell tokens apart
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer(**tokenizer_options).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors are slower on two threads, much slower when others use the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny model."""
    return write_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def load(tiny: Path) -> Callable[..., Backbone]:
    """Load the tiny model, seeded, with adapters of rank 4 unless said otherwise."""

    def apply(seed: int = 0, **options: Any) -> Backbone:
        torch.manual_seed(seed)
        return Backbone.load(str(tiny), device="cpu", **({"lora_rank": 4, "lora_alpha": 8.0} | options))

    return apply


@pytest.fixture
def four_roles(load: Callable[..., Backbone]) -> Callable[..., Backbone]:
    """The tiny model with the roles of PPO, whose adapters are not zero."""

    def apply(seed: int = 0, **options: Any) -> Backbone:
        backbone = load(seed, **options)
        backbone.add_role("reference")
        scramble(backbone, "reference", seed)
        backbone.add_role("policy", copy_of="reference", trainable=True)
        backbone.add_role("reward", head=True)
        scramble(backbone, "reward", seed + 1)
        backbone.add_role("value", copy_of="reward", trainable=True, head=True)
        return backbone

    return apply


def scramble(backbone: Backbone, role: str, seed: int = 0, scale: float = 0.05) -> None:
    """Move a role's weights a little, so that its adapter does something."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in backbone.role_parameters(role).values():
        parameter.data += scale * torch.randn(parameter.shape, generator=generator)


def words(count: int, seed: int) -> str:
    rng = random.Random(seed)
    return " ".join(rng.choice(WORDS) for _ in range(count))


def conversation(seed: int, prompt_words: int = 4, response_words: int = 6) -> dict[str, Any]:
    user = {"role": "user", "content": words(prompt_words, seed)}
    assistant = {"role": "assistant", "content": words(response_words, seed + 10_000)}
    return {"prompt_id": f"p{seed}", "category": "talk", "messages": [user, assistant]}


def prompt(seed: int, prompt_words: int = 4, category: str = "talk") -> dict[str, Any]:
    row = conversation(seed, prompt_words)
    return {"prompt_id": row["prompt_id"], "category": category, "messages": row["messages"][:1]}


def comparison(seed: int, **changes: Any) -> dict[str, Any]:
    row = prompt(seed, prompt_words=2 + seed % 5)
    chosen, rejected = words(1 + seed % 7, seed + 20_000), words(1 + seed % 4, seed + 30_000)
    numbers = {"target_p": 1.0, "margin": 0.0, "weight": 1.0}
    return row | {"comparison_id": f"c{seed}", "chosen": chosen, "rejected": rejected} | numbers | changes


class Memory(Logger):
    """A logger that remembers ``(step, metrics)``."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    @property
    def name(self) -> str:
        return "memory"

    @property
    def version(self) -> str:
        return "0"

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))

    def of(self, name: str) -> dict[int | None, float]:
        return {step: metrics[name] for step, metrics in self.rows if name in metrics}


def trainer(memory: Memory, **options: Any) -> L.Trainer:
    """The plain trainer that every stage runs in."""
    defaults: dict[str, Any] = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "devices": 1,
        "logger": memory,
        "log_every_n_steps": 1,
        "num_sanity_val_steps": 0,
        "check_val_every_n_epoch": None,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "inference_mode": False,
    }
    return L.Trainer(**(defaults | options))


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], dict[str, Any]]:
    """Let ``module.training_step`` run without a Trainer; returns the dict that its log ends up in."""

    def apply(module: Any) -> dict[str, Any]:
        log: dict[str, Any] = {}
        monkeypatch.setattr(module, "log_dict", log.update)

        def step(module: Any) -> None:
            module.optimizer.step()
            module.optimizer.zero_grad(set_to_none=True)

        for name in ("sft", "reward", "ppo", "dpo"):
            monkeypatch.setattr(f"modules.{name}.take_step", step)
        module.train()
        return log

    return apply


@pytest.fixture
def gradients(monkeypatch: pytest.MonkeyPatch, alone: Callable[[Any], dict[str, Any]]) -> Callable[..., list[Any]]:
    """The gradients of a module's training step, taken before clipping; the weights stay."""

    def apply(module: Any, batch: Any) -> list[Any]:
        alone(module)
        found: list[Any] = []

        def keep(parameters: Any, *args: Any) -> float:
            found.extend(None if p.grad is None else p.grad.clone() for p in parameters)
            return 0.0

        for name in ("sft", "reward", "ppo", "dpo"):
            monkeypatch.setattr(f"modules.{name}.clip_gradients", keep)
            monkeypatch.setattr(f"modules.{name}.take_step", lambda module: module.optimizer.zero_grad())
        module.training_step(batch, 0)
        return found

    return apply


def tensors_of(backbone: Backbone, role: str) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in backbone.role_parameters(role).items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of tensors are equal bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
