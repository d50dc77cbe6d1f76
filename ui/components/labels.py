"""Words for the fields of the forms: a label as people say it, and the purposes by which fields stand together."""

from collections.abc import Iterable

PURPOSES: dict[str, tuple[str, ...]] = {
    "Which ratings count": (
        "ties", "use_strength", "strength_as", "weak_labels", "raters", "rated_since", "rated_until", "rated_categories", "votes_half",
        "snapshot", "weighting",
    ),
    "Prompts and texts": (
        "num_prompts", "responses_per_prompt", "put_up", "split", "exclude_categories", "max_demonstrations", "packing", "max_length",
        "max_prompt_length", "max_dropped",
    ),
    "Steps and learning rates": (
        "epochs", "iterations", "learning_rate", "value_learning_rate", "schedule", "warmup_fraction", "batch_size", "minibatch_size",
        "micro_batch_size", "max_grad_norm", "weight_decay", "label_smoothing", "beta", "seed",
    ),
    "Reward and KL": (
        "rewards", "reward_checkpoint", "kl_coef", "kl_target", "kl_estimator", "center_scores", "center_on", "score_scale",
        "score_clip", "reward_pessimism", "missing_eos", "missing_eos_penalty", "missing_eos_score", "bootstrap_unfinished",
        "offtopic_share", "ensemble",
    ),
    "Policy update": (
        "clip_range", "entropy_coef", "gamma", "lam", "whiten_advantages", "approx_kl_limit", "ptx_coef", "ptx_target", "ema_decay",
    ),
    "Value function": ("value_trunk", "value_start", "value_warmup", "value_clip_range"),
    "How it answers": (
        "temperature", "top_p", "top_k", "max_new_tokens", "rollout_batch_size", "rollout_weights", "samples_per_prompt", "best_of",
    ),
    "Measuring": (
        "num_sizes", "num_seeds", "arms", "eval_every", "eval_samples", "eval_prompts", "eval_suites", "eval_suite_items", "checkpoints", "suites", "limit", "toxicity",
        "gold_checkpoint",
    ),
    "Stopping and choosing": ("kl_budget", "tax_budget", "tax_suite", "keep_best", "save_at_kl"),
    "Saving": ("save_every", "keep_checkpoints", "keep_rollouts", "trackers"),
    "Model and adapters": (
        "base_model", "sft_checkpoint", "policy_checkpoint", "checkpoint", "opponent", "chat_template", "method", "quantisation",
        "precision", "lora_rank", "lora_alpha", "lora_dropout", "lora_targets",
    ),
    "Machine": ("device", "gpu", "devices", "num_nodes", "strategy", "gradient_checkpointing"),
}  # fmt: skip
"""Heading to the fields below it, in the order in which they are read."""
REST = "More settings"
WORDS = {
    "arms": "Compare chosen with random pairs",
    "attributes": "Rate on scales too",
    "axis": "Criterion",
    "approx_kl_limit": "Stop an update at this KL",
    "batch_size": "Batch size",
    "beta": "Beta of DPO",
    "block_size": "Votes in a block",
    "bootstrap_unfinished": "Bootstrap unfinished answers",
    "choose": "Which pairs come first",
    "center_on": "Centre scores on",
    "center_scores": "Centre the scores",
    "checkpoints": "Checkpoints to measure",
    "devices": "Number of devices",
    "ema_decay": "Decay of the policy's average",
    "ensemble": "Reward heads in the ensemble",
    "eval_every": "Measure every",
    "eval_prompts": "Held-out prompts to answer",
    "eval_samples": "Held-out answers to show",
    "eval_suite_items": "Items of each suite",
    "eval_suites": "Suites measured on the way",
    "exclude_categories": "Categories to leave out",
    "gamma": "Discount (gamma)",
    "gold_checkpoint": "Gold reward model",
    "gpu": "GPU",
    "keep_best": "Keep the best",
    "keep_checkpoints": "Checkpoints to keep",
    "keep_rollouts": "Iterations whose answers are kept",
    "half": "Half of the votes",
    "kl_budget": "KL budget",
    "kl_coef": "Price of the KL",
    "kl_target": "Target KL",
    "kl_estimator": "KL estimator",
    "lam": "GAE lambda",
    "limit": "Items at most",
    "lora_alpha": "LoRA alpha",
    "lora_dropout": "LoRA dropout",
    "lora_rank": "LoRA rank",
    "lora_targets": "Layers with LoRA",
    "max_demonstrations": "Demonstrations at most",
    "max_dropped": "Rows that may be left out",
    "max_grad_norm": "Gradient norm at most",
    "max_length": "Longest text, in tokens",
    "max_new_tokens": "Longest answer, in tokens",
    "max_prompt_length": "Longest prompt, in tokens",
    "method": "What is trained",
    "missing_eos": "Answers without an end",
    "missing_eos_penalty": "Penalty without an end",
    "missing_eos_score": "Score without an end",
    "num_nodes": "Number of machines",
    "num_seeds": "Number of seeds",
    "num_sizes": "Number of sizes",
    "num_prompts": "Number of prompts",
    "offtopic_share": "Share of off-topic answers",
    "policy_checkpoint": "Policy to start from",
    "ptx_coef": "Weight of demonstrations (ptx)",
    "ptx_target": "What demonstrations teach (ptx)",
    "put_up": "What is put up for rating",
    "random_share": "Share drawn at random",
    "rank": "Answers in a ranking",
    "rated_categories": "Rated categories",
    "repeat_share": "Share of repeats",
    "responses_per_prompt": "Answers to each prompt",
    "reward_checkpoint": "Reward model",
    "reward_pessimism": "Pessimism about the reward",
    "rewards": "Rewards and their weights",
    "rollout_batch_size": "Answers sampled at once",
    "rollout_weights": "Weights that sample",
    "sample_below": "Sample when fewer pairs wait",
    "sample_prompts": "Prompts to sample",
    "second_looks": "Share of second looks",
    "show_predictions": "Show predictions after a vote",
    "since": "Rated since",
    "source": "Answers to compare",
    "samples_per_prompt": "Answers to each prompt",
    "save_at_kl": "Save at these KLs",
    "save_every": "Save every",
    "score_clip": "Clip scores at",
    "sft_checkpoint": "SFT checkpoint",
    "snapshot": "Snapshot of ratings",
    "target": "Number of votes",
    "tax_budget": "Budget of the alignment tax",
    "tax_suite": "Suite that measures the tax",
    "top_k": "Top-k",
    "top_p": "Top-p",
    "trackers": "Other trackers",
    "until": "Rated until",
    "value_clip_range": "Clip range of the value",
    "value_learning_rate": "Learning rate of the value",
    "value_start": "Value starts from",
    "value_trunk": "Value's trunk",
    "value_warmup": "Iterations for the value alone",
    "votes_half": "Half of the votes",
    "weak": "Weak labels",
    "warmup_fraction": "Warm-up share of the steps",
}
"""Labels that are not just the field's name with spaces."""


def label(name: str) -> str:
    """Return the field's label."""
    return WORDS.get(name) or name.replace("_", " ").capitalize()


def by_purpose(names: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Sort fields below their headings, each in the order there; those without a purpose come last."""
    left = list(names)
    found = []
    for title, members in PURPOSES.items():
        if mine := [name for name in members if name in left]:
            found.append((title, mine))
            left = [name for name in left if name not in mine]
    return [*found, (REST, left)] if left else found
