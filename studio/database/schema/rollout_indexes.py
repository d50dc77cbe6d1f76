"""The migration of a search over the rollouts of all runs: indexes of what they are sorted and narrowed by."""

STATEMENTS = (
    "CREATE INDEX rollouts_score ON rollouts(score)",
    "CREATE INDEX rollouts_kl ON rollouts(kl)",
    "CREATE INDEX rollouts_length ON rollouts(num_tokens)",
    "CREATE INDEX rollouts_prompt ON rollouts(prompt_id)",
)
