"""All metrics that the trainers log, each with a sentence; no torch."""

METRICS: dict[str, str] = {
    "train/loss": "Mean loss of the step: nats per response token in SFT, nats per comparison in the reward model.",
    "train/accuracy": "Share of the step's comparisons whose preferred response scores higher; equal scores and ties count half.",
    "train/chosen_reward": "Mean score that the policy implies for the preferred responses in DPO: beta times the log-ratio to the reference.",
    "train/rejected_reward": "Mean score that the policy implies for the other responses in DPO.",
    "train/margin": "Mean implied score of the preferred response minus that of the other one (DPO).",
    "train/margin_per_token": "The same with each score divided by its response's tokens: a margin that length alone does not make.",
    "train/lr": "Learning rate of the step.",
    "train/grad_norm": "Norm of the whole gradient before clipping.",
    "train/tokens_per_s": "Real tokens trained on per second, padding not counted.",
    "eval/loss": "Mean loss on held-out data, in nats per response token (SFT) or per comparison (reward model).",
    "eval/perplexity": "exp of the held-out loss: the number of equally likely tokens the model hesitates between.",
    "eval/chosen_reward": "Mean implied score of the preferred held-out responses (DPO).",
    "eval/rejected_reward": "Mean implied score of the other held-out responses (DPO); it may fall faster than the preferred ones' rises.",
    "eval/margin": "Mean implied score of the preferred held-out response minus that of the other one (DPO).",
    "eval/margin_per_token": "The same with each score divided by its response's tokens.",
    "eval/accuracy": "Share of held-out comparisons that the reward model ranks as the person did; equal scores and ties count half.",
    "eval/accuracy_low": "Lower end of the accuracy's 95 % interval (Wilson).",
    "eval/accuracy_high": "Upper end of the accuracy's 95 % interval (Wilson).",
    "eval/num": "Held-out comparisons the accuracy was measured on.",
    "eval/ece": "Calibration error: mean distance between the predicted and the observed share of wins, over ten bins.",
    "eval/loss_low": "Lower end of the held-out loss's 95 % interval (normal; reward model).",
    "eval/loss_high": "Upper end of the held-out loss's 95 % interval (normal; reward model).",
    "eval/length_correlation": "Correlation of a held-out response's score with its length in tokens: near 0 is good; near 1 means that the reward model counts words.",
    "eval/length_correlation_low": "Lower end of that correlation's 95 % interval (Fisher, by number of pairs).",
    "eval/length_correlation_high": "Upper end of that correlation's 95 % interval (Fisher, by number of pairs).",
    "eval/length_matched_accuracy": "Accuracy on held-out comparisons whose two responses differ in length by at most a tenth.",
    "eval/length_matched_accuracy_low": "Lower end of the length-matched accuracy's 95 % interval (Wilson).",
    "eval/length_matched_accuracy_high": "Upper end of the length-matched accuracy's 95 % interval (Wilson).",
    "eval/length_matched_num": "Held-out comparisons of nearly equal length that the length-matched accuracy was measured on.",
    "eval/uncertainty": "Mean disagreement of an ensemble about a held-out comparison: standard deviation of the score difference.",
    "eval/uncertainty_auc": "Chance that the ensemble disagrees more about a comparison it gets wrong than about one it gets right; 0.5 is useless.",
    "eval/kept_step": "Step whose weights had the lowest held-out loss and were kept.",
    "eval/center": "Mean score of the demonstrations before it was subtracted: afterwards 0 means as good as a demonstration.",
    "eval/center_spread": "Standard deviation of the demonstrations' scores: the scale on which scores are to be read.",
    "eval/center_num": "Demonstrations (or, without any, preferred responses) that the score was centred on.",
    "eval/score": "Mean raw score of the policy's responses to held-out prompts.",
    "eval/kl": "Mean KL from the SFT policy per held-out response, in nats.",
    "eval/response_tokens": "Mean length of the responses to held-out prompts.",
    "eval/eos_share": "Share of responses to held-out prompts that ended by themselves.",
    "eval/demonstration_loss": "The policy's loss on all held-out demonstrations, in nats per token.",
    "eval/tax_loss": "The policy's loss on held-out demonstrations of the categories left out of PPO: what it forgets (alignment tax).",
    "objective/kl": "Mean KL from the SFT policy per response, in nats.",
    "objective/score": "Mean raw score of the iteration's responses.",
    "objective/score_scale": "What centred scores are divided by: the standard deviation of all scores so far.",
    "objective/reward": "What PPO maximises: mean centred, scaled, clipped and penalised score, minus the price of the KL.",
    "objective/kl_coef": "Price of one nat of KL.",
    "policy/lr": "The policy's learning rate in the iteration.",
    "policy/loss": "Clipped policy loss, mean over response tokens and steps.",
    "policy/approx_kl": "Half the mean squared change of log-probabilities since the rollout; large means the steps are too long.",
    "policy/steps_taken": "Share of the iteration's optimizer steps that were taken before approx_kl_limit ended it.",
    "policy/clip_fraction": "Share of tokens whose probability ratio left the clip range.",
    "policy/entropy": "Mean entropy of the policy's choices, in nats per token.",
    "policy/ratio": "Mean probability ratio of new to old policy; near 1.",
    "policy/grad_norm": "Norm of the policy's gradient before clipping, mean over steps.",
    "policy/ptx_loss": "Language-model loss on the demonstrations mixed in, or KL of the reference there (ptx_target), in nats per token.",
    "value/loss": "Clipped value loss, mean over response tokens and steps.",
    "value/explained_variance": "Share of the returns' variance that the value function predicted; 1 is all, 0 none.",
    "value/grad_norm": "Norm of the value function's gradient before clipping, mean over steps.",
    "rollout/response_tokens": "Mean length of the iteration's responses.",
    "rollout/eos_share": "Share of responses that ended by themselves.",
    "time/rollout_s": "Seconds spent on sampling responses.",
    "time/score_s": "Seconds spent on scores, log-probabilities and values.",
    "time/update_s": "Seconds spent on optimizer steps.",
}
"""Name to sentence; names are ``group/name``."""

COMPONENTS = "reward/"
"""A mixed reward logs each component under this group, by the component's own name (`modules.config.reward_terms`)."""

GROUPS: dict[str, str] = {
    COMPONENTS: "Mean raw score of the iteration's responses by this component of the reward, before its weight.",
    "suite/": "First measure of a suite on fixed items (eval_suites): accuracy, mc2, or nats per byte.",
    "category_accuracy/": "Accuracy on held-out comparisons of the category.",
    "category_num/": "Held-out comparisons of the category, ties left out.",
    "strength_accuracy/": "Accuracy on held-out comparisons of this strength: 1 slightly better, 2 better, 3 much better.",
    "strength_num/": "Held-out comparisons of this strength.",
    "reliability_predicted/": "Mean predicted chance that the higher score's response wins, in this tenth from 1/2 to 1.",
    "reliability_observed/": "Share of held-out comparisons in this tenth in which it did win.",
    "reliability_num/": "Held-out comparisons in this tenth.",
}
"""Groups whose names come from the data, each with the sentence of all of them."""


def sentence(name: str) -> str:
    """Return what a metric means; empty for an unknown one."""
    return METRICS.get(name) or next((text for group, text in GROUPS.items() if name.startswith(group)), "")
