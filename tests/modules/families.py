"""Tiny random models of nine families, each with the oddities that its real ones have."""

from pathlib import Path

import torch
from conftest import BOS, END, PAD, VOCAB, tiny_tokenizer
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

_SIZE = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "initializer_range": 0.15,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": END,
}
_GROUPED = _SIZE | {"num_key_value_heads": 2}
PADDED_VOCAB = VOCAB + 32

FAMILIES: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**_GROUPED),  # output layer of its own
    "mistral": MistralConfig(**_GROUPED, sliding_window=7),  # shorter than the texts
    "qwen2": Qwen2Config(**_GROUPED | {"vocab_size": PADDED_VOCAB}, tie_word_embeddings=True),  # ids without tokens
    "qwen3": Qwen3Config(**_GROUPED, head_dim=16, tie_word_embeddings=True),  # heads wider than hidden / num_heads
    "gemma": GemmaConfig(**_GROUPED, head_dim=8),  # embeddings scaled by sqrt(hidden), tied
    "gemma2": Gemma2Config(  # caps the logits of attention and output, slides in every other layer
        **_GROUPED, head_dim=8, sliding_window=7, attn_logit_softcapping=0.5, final_logit_softcapping=2.0
    ),
    "phi3": Phi3Config(**_GROUPED, sliding_window=9),  # fused qkv_proj and gate_up_proj
    "gpt2": GPT2Config(  # Conv1D, learned positions, tied, dropout
        vocab_size=VOCAB,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=128,
        initializer_range=0.15,
        bos_token_id=BOS,
        eos_token_id=END,
    ),
    "gpt_neox": GPTNeoXConfig(**_SIZE | {"vocab_size": PADDED_VOCAB}, rotary_pct=0.25),  # parallel residual, fused qkv
}


def write_family(folder: Path, family: str, **tokenizer_options: str) -> Path:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(FAMILIES[family]).save_pretrained(folder)
    tiny_tokenizer(**tokenizer_options).save_pretrained(folder)
    return folder
