"""One typed config per stage: it is the form in the browser, the CLI's ``--set key=value`` and the run's ``config.json``.

Holds no torch, so the UI process can import it. Each field's docstring is its tooltip. Checkpoints are referred to by
their name in the workspace (``sft-1``, ``ppo-2@40``); prompts, demonstrations and ratings come from the workspace itself.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NonNegativeFloat = Annotated[float, Field(ge=0.0)]


class StageConfig(BaseModel):
    """What every stage shares. Frozen: a run's config never changes after it was created."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of data order, sampling and fresh weights; the same seed on the same machine repeats the run."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute: auto takes the GPU when there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the base weights: auto is bf16 on GPUs that have it, else fp32."""
    quantisation: Literal["none", "nf4"] = "none"
    """nf4 holds the frozen base in 4 bits (QLoRA, double quantisation): about a quarter of the memory of bf16."""


class TrainConfig(StageConfig):
    """What the three trainers share."""

    method: Literal["lora", "full"] = "lora"
    """lora trains small adapters on a frozen base; full trains every weight and needs several times the memory."""
    lora_rank: Annotated[int, Field(ge=1, le=512)] = 16
    """Rank of the LoRA adapters: more rank, more capacity and memory."""
    lora_alpha: PositiveFloat = 32.0
    """LoRA scale; the adapter's output is multiplied by alpha / rank."""
    lora_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout inside the adapters; 0 keeps log-probabilities repeatable, which PPO needs."""
    lora_targets: str = "all-linear"
    """Layers that get an adapter: all-linear is every one but the output layer, attention only those in it, or names (q_proj,v_proj)."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: about a third slower, far less memory for long texts."""
    max_length: Annotated[int, Field(ge=8)] = 512
    """Longest training text in tokens; longer ones are dropped and counted."""
    batch_size: PositiveInt = 16
    """Examples per optimizer step."""
    micro_batch_size: PositiveInt = 16
    """Examples per forward pass; smaller needs less memory and changes nothing in the result."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradients are scaled down to this global norm before each step."""
    save_every: PositiveInt = 100
    """Write a resumable checkpoint every this many steps (PPO: iterations)."""


class SFTConfig(TrainConfig):
    """Supervised fine-tuning: teach the base model the demonstrations."""

    base_model: str = "starter"
    """The pretrained model: starter, a local Hugging Face folder, or a hub id such as Qwen/Qwen3-0.6B."""
    chat_template: Literal["auto", "chatml", "plain"] = "auto"
    """How turns become text: auto takes the tokenizer's own template, and plain where it has none."""
    learning_rate: PositiveFloat = 2e-4
    """Peak learning rate: 1e-4 to 3e-4 with LoRA, about 2e-5 in full."""
    warmup_fraction: Fraction = 0.05
    """Share of the steps over which the learning rate rises from 0; it then falls along a cosine."""
    epochs: PositiveInt = 2
    """How many times each demonstration is seen."""
    packing: bool = False
    """Lay several short demonstrations into one row of max_length tokens, none seeing another; changes the speed, not the result."""
    max_demonstrations: Annotated[int, Field(ge=0)] = 0
    """Use at most this many demonstrations, drawn by the seed; 0 uses all."""
    eval_every: PositiveInt = 25
    """Measure the held-out loss every this many steps."""
    eval_samples: Annotated[int, Field(ge=0, le=64)] = 4
    """Held-out prompts that are answered at each evaluation, always the same ones, for reading beside the curves; 0 for none."""


class RewardConfig(TrainConfig):
    """Reward model: learn to predict which response the person prefers."""

    sft_checkpoint: str = ""
    """The SFT checkpoint it starts from; empty takes the newest."""
    learning_rate: PositiveFloat = 1e-4
    """Peak learning rate: about 1e-4 with LoRA, 9e-6 in full."""
    warmup_fraction: Fraction = 0.05
    """Share of the steps over which the learning rate rises from 0; it then falls along a cosine."""
    epochs: PositiveInt = 1
    """How many times each comparison is seen; more than one overfits easily (InstructGPT used one)."""
    ties: Literal["half", "drop"] = "half"
    """half trains on a tie as a probability of one half; drop leaves ties out."""
    use_strength: bool = False
    """Add the strength of a preference as a margin to the loss (Llama 2); off treats weak and strong alike."""
    eval_every: PositiveInt = 25
    """Measure accuracy on held-out comparisons every this many steps."""


class PPOConfig(TrainConfig):
    """PPO: raise the reward model's score while staying near the SFT policy."""

    sft_checkpoint: str = ""
    """The reference policy: the KL penalty is measured against it; empty takes the reward model's parent."""
    reward_checkpoint: str = ""
    """The reward model that scores responses; empty takes the newest."""
    policy_checkpoint: str = ""
    """Where the policy starts; empty starts from the SFT checkpoint."""
    iterations: PositiveInt = 100
    """Rounds of rollout and update."""
    batch_size: PositiveInt = 64
    """Responses sampled per iteration."""
    minibatch_size: PositiveInt = 32
    """Responses per optimizer step."""
    micro_batch_size: PositiveInt = 32
    """Responses per forward pass; smaller needs less memory and changes nothing in the result."""
    epochs: PositiveInt = 4
    """Passes over each iteration's responses."""
    learning_rate: PositiveFloat = 1e-4
    """Learning rate of the policy."""
    value_learning_rate: PositiveFloat = 2e-4
    """Learning rate of the value function, usually 1 to 3 times the policy's."""
    value_warmup: Annotated[int, Field(ge=0)] = 5
    """First iterations that train only the value function, so that early advantages are not noise."""
    kl_coef: NonNegativeFloat = 0.05
    """Price of one nat of divergence from the SFT policy, taken from the reward of every token."""
    kl_estimator: Literal["k1", "k3"] = "k1"
    """Estimate of the per-token KL in the reward: k1 is unbiased, k3 is unbiased, never negative and less noisy."""
    kl_target: NonNegativeFloat = 0.0
    """Adapt kl_coef towards this KL per response, in nats (6 is usual); 0 keeps it fixed."""
    clip_range: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """How far one iteration may move a token's probability ratio before its gradient is cut."""
    value_clip_range: PositiveFloat = 0.2
    """How far one iteration may move a value estimate before its gradient is cut."""
    value_coef: NonNegativeFloat = 0.1
    """Weight of the value loss."""
    entropy_coef: NonNegativeFloat = 0.0
    """Bonus for keeping the policy's choices varied; 0 is usual."""
    gamma: Fraction = 1.0
    """Discount per token; 1 is usual for responses."""
    lam: Fraction = 0.95
    """GAE lambda: 1 is unbiased and noisy, lower leans on the value function."""
    whiten_advantages: bool = True
    """Scale each iteration's advantages to mean 0 and variance 1 over real tokens."""
    center_scores: bool = True
    """Subtract the mean score of the SFT policy's responses, so that 0 means as good as the start."""
    score_clip: PositiveFloat = 10.0
    """Scores are clipped to plus or minus this after centring; the raw score is always logged."""
    missing_eos_penalty: NonNegativeFloat = 1.0
    """Taken from the score of a response that did not end by itself."""
    ptx_coef: NonNegativeFloat = 0.0
    """Weight of a language-model loss on demonstrations mixed into each step, InstructGPT's remedy for the alignment tax."""
    max_prompt_length: Annotated[int, Field(ge=1)] = 256
    """Longer prompts are dropped and counted."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 96
    """Longest response in tokens."""
    temperature: PositiveFloat = 1.0
    """Sampling temperature; the same one is used for every log-probability."""
    exclude_categories: str = ""
    """Prompt categories, separated by commas, that are not trained on; their held-out demonstrations measure the alignment tax."""
    eval_every: PositiveInt = 10
    """Score held-out prompts and measure held-out losses every this many iterations."""
    eval_prompts: Annotated[int, Field(ge=1, le=2048)] = 64
    """Held-out prompts scored at each evaluation."""
    save_every: PositiveInt = 20
    """Write a resumable checkpoint every this many iterations."""


class SampleConfig(StageConfig):
    """Sample responses from checkpoints and put them up for rating as pairs."""

    checkpoint: str = ""
    """The policy that answers; empty takes the newest policy, else the newest SFT checkpoint."""
    opponent: str = ""
    """A second checkpoint to answer beside it; empty compares two samples of one policy."""
    num_prompts: PositiveInt = 100
    """Prompts to answer, drawn by the seed."""
    pairs_per_prompt: Annotated[int, Field(ge=1, le=16)] = 1
    """Pairs put up for each prompt; more than one helps when prompts are few."""
    split: Literal["train+validation", "train", "validation", "test"] = "train+validation"
    """Which prompts to draw from. Ratings of validation and test prompts are never trained on: they measure."""
    exclude_categories: str = ""
    """Prompt categories, separated by commas, to leave out."""
    temperature: PositiveFloat = 1.0
    """Higher is more varied, lower is safer."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Sample from the smallest set of tokens with this much probability; 1 uses all."""
    top_k: Annotated[int, Field(ge=0)] = 0
    """Sample from this many most likely tokens; 0 uses all."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 96
    """Longest response in tokens."""
    batch_size: PositiveInt = 64
    """Responses generated together."""


STAGES: dict[str, type[StageConfig]] = {
    "sft": SFTConfig,
    "sample": SampleConfig,
    "reward": RewardConfig,
    "ppo": PPOConfig,
}
"""Stage name to config class, in the order of the loop."""


def categories(text: str) -> frozenset[str]:
    """The names in a comma-separated config field; empty text gives none."""
    return frozenset(name.strip() for name in text.split(",") if name.strip())
