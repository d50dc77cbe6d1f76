"""The configs of the stages that train: SFT, reward model, DPO, PPO and the learning curve; and the table of all stages.

Checkpoints are referred to by their name in the workspace (``sft-1``, ``ppo-2@40``); prompts, demonstrations and ratings
come from the workspace itself.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationInfo, field_validator, model_validator

from modules.config import milestones, reward_terms
from modules.config.answers import EvaluateConfig, SampleConfig
from modules.config.base import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt, StageConfig, TrainConfig
from modules.config.reward_terms import RewardTerm

RolloutWeights = Literal["auto", "merged", "adapter"]
ScheduleKind = Literal["constant", "linear", "cosine"]


class SFTConfig(TrainConfig):
    """Supervised fine-tuning: teach the base model the demonstrations."""

    base_model: str = "starter"
    """The pretrained model: starter, a local Hugging Face folder, or a hub id such as Qwen/Qwen3-0.6B."""
    chat_template: Literal["auto", "chatml", "plain"] = "auto"
    """How turns become text: auto takes the tokenizer's own template, and plain where it has none."""
    quantisation: Literal["none", "nf4"] = "none"  # type: ignore[assignment]  # there is no checkpoint to take it from
    """nf4 keeps the frozen base in 4 bits (QLoRA, double quantisation): about a quarter of the memory of bf16."""
    method: Literal["lora", "full"] = "lora"  # type: ignore[assignment]  # as above
    """lora trains small adapters on a frozen base; full trains every weight and needs several times the memory."""
    lora_rank: Annotated[int, Field(ge=1, le=512)] = 16
    """Rank of the LoRA adapters; a higher rank has more capacity and needs more memory."""
    lora_alpha: PositiveFloat = 32.0
    """LoRA scale; the adapter's output is multiplied by alpha / rank."""
    lora_targets: str = "all-linear"
    """Layers that get an adapter: all-linear is all but the output layer, attention only the attention layers; or names (q_proj,v_proj)."""
    learning_rate: PositiveFloat = 2e-4
    """Peak learning rate: 1e-4 to 3e-4 with LoRA, about 2e-5 with method=full."""
    warmup_fraction: Fraction = 0.05
    """Share of the steps over which the learning rate rises from 0; it then falls along a cosine."""
    epochs: PositiveInt = 2
    """How many times each demonstration is seen."""
    packing: bool = False
    """Pack several short demonstrations into one row of max_length tokens, each unable to see the others; changes the speed, not the result."""
    max_demonstrations: Annotated[int, Field(ge=0)] = 0
    """Use at most this many demonstrations, drawn by the seed; 0 uses all."""
    eval_every: PositiveInt = 25
    """Measure the held-out loss after every this many steps."""
    eval_samples: Annotated[int, Field(ge=0, le=64)] = 4
    """Held-out prompts answered at each evaluation, always the same ones, to read next to the curves; 0 for none."""
    eval_suites: str = ""
    """Suites measured at each evaluation too, such as grammar, facts@chat: any of the stage evaluate that need no sampling. Empty measures none."""
    eval_suite_items: PositiveInt = 64
    """Items of each of them, drawn by the seed, always the same ones."""


class VotesConfig(TrainConfig):
    """Fields of the stages that learn from ratings."""

    sft_checkpoint: str = ""
    """The SFT checkpoint it starts from; leave empty for the newest."""
    ties: Literal["half", "drop"] = "half"
    """half trains on a tie as a probability of one half; drop leaves ties out."""
    use_strength: bool = False
    """Learn more from strong preferences than from weak ones, as strength_as says; off treats them alike."""
    strength_as: Literal["margin", "soft_label"] = "margin"
    """How use_strength works: margin asks for more distance between clearly different responses (Llama 2); soft_label takes slightly better, better, much better as a probability of 0.7, 0.85, 0.95."""
    weak_labels: Literal["keep", "drop"] = "keep"
    """drop leaves out preferences for a response found only slightly better."""
    rated_since: str = ""
    """Train only on ratings given on this day (UTC, such as 2026-03-31) or later; leave empty for all."""
    rated_until: str = ""
    """Train only on ratings given on this day (UTC) or earlier; leave empty for all."""
    rated_categories: str = ""
    """Train only on ratings of prompts of these categories, separated by commas, one with a comma in quotes; leave empty for all."""
    raters: str = "all"
    """Whose ratings count: all; majority for one preference of each pair, that of most raters; share for one with the share of raters as its probability; or names, separated by commas."""
    votes_half: Literal["all", "first", "second"] = "all"
    """Train on the votes of one half of the prompts only: two reward models, one a half, share no vote, so that policies trained against the one can be judged by the other (gold_checkpoint of evaluate). Held-out votes stay whole."""
    snapshot: str = ""
    """The frozen set of ratings to train on, such as snapshot-3; its own recipe then decides on ties, strength, dates, categories, raters and half. Empty freezes the current ratings."""
    weighting: Literal["pair", "prompt"] = "pair"
    """pair counts each pair once; prompt counts each prompt once, with 1 / C(K, 2) for each pair of K ranked responses (InstructGPT), and batch_size then counts prompts."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    """Rate at which raters are believed to err; above 0 it keeps the model from becoming certain of a few noisy labels."""


class RewardConfig(VotesConfig):
    """Reward model: learn to predict which response the person prefers."""

    learning_rate: PositiveFloat = 1e-4
    """Peak learning rate: about 1e-4 with LoRA, 9e-6 with method=full."""
    warmup_fraction: Fraction = 0.05
    """Share of the steps over which the learning rate rises from 0; it then falls along a cosine."""
    epochs: PositiveInt = 1
    """How many times each comparison is seen; more than one overfits easily (InstructGPT used one)."""
    weight_decay: NonNegativeFloat = 0.0
    """Pulls the trained weights towards 0 (AdamW), against overfitting; 0 is off."""
    offtopic_share: Fraction = 0.0
    """Share of the prompts that get one more pair, made without a rater: a preferred response over an answer to another prompt. It keeps a policy from earning the same high score with one answer to everything."""
    ensemble: Annotated[int, Field(ge=1, le=32)] = 1
    """Heads that learn from different samples of the prompts: the score is their mean, their disagreement its uncertainty; 1 is off."""
    keep_best: bool = False
    """End with the weights of the lowest held-out loss instead of the last ones; the held-out figures are then slightly optimistic."""
    eval_every: PositiveInt = 25
    """Measure accuracy on held-out comparisons after every this many steps."""


class DPOConfig(VotesConfig):
    """DPO: learn from the ratings directly, without a reward model and without sampling. A baseline for what PPO adds."""

    learning_rate: PositiveFloat = 5e-5
    """Peak learning rate: 2e-5 to 1e-4 with LoRA, about 5e-7 with method=full."""
    warmup_fraction: Fraction = 0.1
    """Share of the steps over which the learning rate rises from 0; it then falls along a cosine."""
    epochs: PositiveInt = 1
    """How many times each comparison is seen."""
    beta: PositiveFloat = 0.1
    """Strength of the pull towards the SFT policy, the reference: lower goes further away for the same ratings (0.01 to 0.5 are usual)."""
    eval_every: PositiveInt = 25
    """Measure held-out comparisons after every this many steps."""


class CurveConfig(StageConfig):
    """Learning curve: train reward models on growing parts of the ratings, to tell what more ratings would bring."""

    reward_checkpoint: str = ""
    """The reward model whose settings and SFT checkpoint (but not its weights) are used; leave empty for the newest."""
    snapshot: str = ""
    """The frozen set of ratings, such as snapshot-3. Empty freezes the current ones, chosen as for that reward model."""
    num_sizes: Annotated[int, Field(ge=4, le=8)] = 5
    """Numbers of labels, each half of the next: with 5 from a sixteenth of the labels to all of them."""
    num_seeds: Annotated[int, Field(ge=2, le=20)] = 5
    """Reward models of each size, each on a part of its own. What is measured is not measured again, so more can be added later."""
    arms: bool = False
    """Measure two curves instead: on labels that sessions chose, and on labels that they drew at random. Their ratio tells what choosing saves."""

    def sizes(self, num_labels: int) -> list[int]:
        """Return the numbers of labels, rising to all of them."""
        return [num_labels >> halvings for halvings in reversed(range(self.num_sizes))]

    @property
    def seeds(self) -> list[int]:
        """The seeds, one for each reward model of a size."""
        return [(self.seed + number) % 2**31 for number in range(self.num_seeds)]


class PPOConfig(TrainConfig):
    """PPO: raise the reward model's score while staying near the SFT policy."""

    sft_checkpoint: str = ""
    """The reference policy: the KL penalty is measured against it; leave empty for the reward model's parent, else the newest."""
    reward_checkpoint: str = ""
    """The reward model that scores responses; leave empty for the newest. Not used if `rewards` has no term reward."""
    rewards: str = ""
    """What is rewarded: empty is the reward checkpoint alone; else a sum such as reward*1.0 + classifier:FOLDER*0.5 + function:length.py:short_is_good*0.1. A classifier is a Hugging Face folder or hub id (#LABEL names the good label). A function's file must lie in the workspace's folder rewards/; it gets the prompts and responses and returns a number for each."""
    policy_checkpoint: str = ""
    """Where the policy starts; empty starts from the SFT checkpoint."""
    iterations: PositiveInt = 100
    """Rounds of rollout and update."""
    batch_size: PositiveInt = 64
    """Responses sampled per iteration."""
    minibatch_size: PositiveInt = 32
    """Responses per optimizer step."""
    micro_batch_size: PositiveInt = 32
    """Responses per forward pass; smaller needs less memory and does not change the result."""
    rollout_batch_size: PositiveInt = 64
    """Responses sampled at a time; smaller needs less memory for keys and values and changes nothing in the result."""
    rollout_weights: RolloutWeights = "auto"
    """What samples: merged is a copy of the policy's weights with the adapter folded in, which halves a token's work; adapter takes no copy. auto merges in fp32, and on a GPU where the copy takes at most a quarter of its memory. Log-probabilities are the trained policy's either way."""
    epochs: PositiveInt = 4
    """Passes over each iteration's responses."""
    learning_rate: PositiveFloat = 1e-4
    """Learning rate of the policy."""
    value_learning_rate: PositiveFloat = 2e-4
    """Learning rate of the value function, usually 1 to 3 times the policy's."""
    schedule: ScheduleKind = "constant"
    """How both learning rates go on after their rise: constant, or falling to 0 at the last iteration along a line or a cosine."""
    warmup_fraction: Fraction = 0.0
    """Share of the iterations over which the learning rates rise from 0; the policy's begin with its first iteration after value_warmup."""
    value_trunk: Literal["own", "reward"] = "own"
    """own gives the value function its own weights; with reward it is a head on the reward model's frozen hidden states, which halves the update's time and memory."""
    value_start: Literal["reward", "zero"] = "reward"
    """The head that the value function starts with: the reward model's, as InstructGPT did, or one that outputs 0; the weights below it are the reward model's either way."""
    value_warmup: Annotated[int, Field(ge=0)] = 5
    """Number of first iterations that train only the value function, so that early advantages are not noise."""
    kl_coef: NonNegativeFloat = 0.05
    """Price of one nat of divergence from the SFT policy, taken from the reward of every token."""
    kl_estimator: Literal["k1", "k3"] = "k1"
    """Estimate of the per-token KL in the reward: k1 is unbiased, k3 is unbiased, never negative and less noisy."""
    kl_target: NonNegativeFloat = 0.0
    """Adapt kl_coef, which must then start above 0, towards this KL per response in nats (6 is usual), from the first iteration that trains the policy; 0 keeps it fixed."""
    clip_range: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """How far one iteration may move a token's probability ratio before its gradient is cut."""
    value_clip_range: PositiveFloat = 0.2
    """How far one iteration may move a value estimate before its gradient is cut; not during value_warmup, when no policy depends on it."""
    entropy_coef: NonNegativeFloat = 0.0
    """Bonus for keeping the policy's choices varied; 0 is usual."""
    gamma: Fraction = 1.0
    """Discount per token; 1 is usual for responses."""
    lam: Fraction = 0.95
    """GAE lambda: 1 is unbiased and noisy, lower relies more on the value function."""
    whiten_advantages: bool = True
    """Scale each iteration's advantages to mean 0 and variance 1 over real tokens."""
    center_scores: bool = True
    """Subtract a mean score, so that 0 means as good as what center_on names."""
    center_on: Literal["responses", "demonstrations"] = "responses"
    """Whose mean score counts as 0: the SFT policy's own responses, or the held-out demonstrations (InstructGPT)."""
    score_scale: Literal["none", "running"] = "none"
    """running divides centred scores by the standard deviation of all scores of the run so far; none leaves them as they are."""
    reward_pessimism: NonNegativeFloat = 0.0
    """Score by the reward ensemble's mean less this many standard deviations of its members (1 is usual), so that what they disagree about earns less; 0 takes the mean. The reward run must have had an ensemble."""
    score_clip: PositiveFloat = 10.0
    """Scores are clipped to plus or minus this after centring and scaling; the raw score is always logged."""
    missing_eos: Literal["penalty", "score"] = "penalty"
    """What a response that did not end by itself gets: its score minus missing_eos_penalty, or missing_eos_score instead."""
    missing_eos_penalty: NonNegativeFloat = 1.0
    """Subtracted from the score of a response that did not end by itself."""
    missing_eos_score: float = -1.0
    """The fixed score of a response that did not end by itself, with missing_eos=score; it is neither centred nor scaled."""
    bootstrap_unfinished: bool = False
    """Credit a response that did not end by itself with the value of what would follow; off treats it as finished."""
    ptx_coef: NonNegativeFloat = 0.0
    """Weight of a language-model loss on demonstrations mixed into each step (InstructGPT's remedy for the alignment tax)."""
    ptx_target: Literal["tokens", "reference"] = "tokens"
    """The target of that loss: the demonstrations' tokens (InstructGPT), or what the reference predicts at each of them, which has the same direction without the noise of single tokens."""
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Measure and hand on a running average of the policy with this decay (InstructGPT: 0.992); 0 hands on the policy itself. With method=full it needs one more copy of the weights."""
    approx_kl_limit: NonNegativeFloat = 0.0
    """End an iteration's updates once a minibatch's approximate KL since the rollout exceeds this (0.02 to 0.1); 0 takes all steps."""
    kl_budget: NonNegativeFloat = 0.0
    """Hand on the policy with the best held-out score among those measured within this KL per response, in nats; 0 for no limit."""
    tax_budget: NonNegativeFloat = 0.0
    """Do not hand on a policy whose held-out loss (eval/tax_loss, else eval/demonstration_loss) rose by more than this share, such as 0.05; 0 for no limit. With tax_suite the same of a suite."""
    tax_suite: str = ""
    """Measure tax_budget on this suite of eval_suites instead of the held-out loss: at 0.05, no policy is handed on whose score there is worse than the start's by more than 5 % of it. With few items that is noise: raise eval_suite_items."""
    max_prompt_length: Annotated[int, Field(ge=1)] = 256
    """Longer prompts are dropped and counted."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 96
    """Longest response in tokens."""
    temperature: PositiveFloat = 1.0
    """Sampling temperature; the same one is used for every log-probability."""
    exclude_categories: str = ""
    """Prompt categories, separated by commas (one with a comma in quotes), not to train on; their held-out demonstrations measure the alignment tax."""
    eval_every: PositiveInt = 10
    """Score held-out prompts and measure held-out losses after every this many iterations."""
    eval_prompts: Annotated[int, Field(ge=1, le=2048)] = 64
    """Held-out prompts scored at each evaluation."""
    eval_suites: str = ""
    """Suites measured at each evaluation too, such as grammar, facts@chat: any of the stage evaluate that need no sampling. Empty measures none."""
    eval_suite_items: PositiveInt = 64
    """Items of each of them, drawn by the seed, always the same ones."""
    keep_rollouts: Annotated[int, Field(ge=0)] = 20
    """Store every response with its numbers per token, for this many of the newest iterations; 0 stores none."""
    save_every: PositiveInt = 20
    """Write a resumable checkpoint after every this many iterations."""
    save_at_kl: str = ""
    """Also write one the first time the mean KL per response reaches each of these values, in nats, such as 1, 3, 6, 10, 20; empty writes none. Measured afterwards (evaluate), they show from where on the score rises but the answers get no better."""

    @model_validator(mode="before")
    @classmethod
    def _without_value_coef(cls, given: Any) -> Any:
        """Read configs of earlier versions, which named the weight of the value loss, now `modules.rl.update.VALUE_WEIGHT`."""
        if isinstance(given, Mapping) and given.get("value_coef") in (0.1, "0.1"):
            return {name: value for name, value in given.items() if name != "value_coef"}
        return given

    @field_validator("rewards")
    @classmethod
    def _readable(cls, text: str) -> str:
        reward_terms.parse(text)
        return text

    @field_validator("save_at_kl")
    @classmethod
    def _are_distances(cls, text: str) -> str:
        milestones.parse(text)
        return text

    @field_validator("value_trunk")
    @classmethod
    def _has_the_trunk(cls, trunk: str, info: ValidationInfo) -> str:
        terms = reward_terms.parse(info.data.get("rewards", ""))
        if trunk == "reward" and terms and all(term.kind != "reward" for term in terms):
            raise ValueError("reward needs a reward model, but rewards has no term reward: choose own.")
        return trunk

    @property
    def reward_terms(self) -> tuple[RewardTerm, ...]:
        """The terms of `rewards`; none for the reward checkpoint alone."""
        return reward_terms.parse(self.rewards)

    @property
    def needs_reward_checkpoint(self) -> bool:
        """True where the reward checkpoint takes part."""
        return not self.rewards.strip() or any(term.kind == "reward" for term in self.reward_terms)


STAGES: dict[str, type[StageConfig]] = {
    "sft": SFTConfig,
    "sample": SampleConfig,
    "reward": RewardConfig,
    "ppo": PPOConfig,
    "dpo": DPOConfig,
    "evaluate": EvaluateConfig,
    "curve": CurveConfig,
}
"""Stage name to config class, in the order of the loop."""


FRESH: dict[str, Any] = {
    "method": "lora",
    "quantisation": "none",
    "lora_rank": 16,
    "lora_alpha": 32.0,
    "lora_targets": "all-linear",
}
"""Settings that belong to a model, with SFT's values. A later stage leaves them open and takes its checkpoint's."""

AnyConfig = TypeVar("AnyConfig", bound=StageConfig)


def is_open(config: StageConfig, name: str) -> bool:
    """Return whether a setting that belongs to the model is left to the checkpoint."""
    return name in FRESH and getattr(config, name, None) in ("auto", 0, "")


def settle(config: AnyConfig, values: Mapping[str, Any] = FRESH) -> AnyConfig:
    """Return the config with its open settings taken from `values`; the others stay."""
    return config.model_copy(update={name: value for name, value in values.items() if is_open(config, name)})


def categories(text: str) -> frozenset[str]:
    """Return the names in a comma-separated config field; one with a comma stands in double quotes, and empty text gives none."""
    line = text.replace("\n", " ").replace("\r", " ")
    return frozenset(name.strip() for name in next(csv.reader([line], skipinitialspace=True), []) if name.strip())


def listed(names: Iterable[str]) -> str:
    """Return the text of a config field that `categories` reads as these names, sorted."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(sorted(names))
    return line.getvalue()
