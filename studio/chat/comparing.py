"""Shows a stored response of PPO under another checkpoint: the log-probability of each token, and a reward model's score."""

from statistics import fmean
from typing import NamedTuple

from sqlite_utils import Database

from modules.config import PPOConfig
from studio.chat.resident import Resident
from studio.errors import StudioError
from studio.models import checkpoints
from studio.runs import rollouts, runs, steering
from studio.runs.rollouts import Rollout, Token


class Under(NamedTuple):
    """A response under another checkpoint."""

    checkpoint: str
    tokens: list[Token]
    """As they are stored."""
    logprobs: list[float]
    """Of each token, by that checkpoint, in nats."""
    reward: str
    """The reward model that scored the text now; empty without one."""
    score: float | None
    why_none: str = ""
    """The reason for there being no score."""

    @property
    def differences(self) -> list[float]:
        """Return log-probability there minus that of the policy that sampled, for each token."""
        return [there - token.logprob for there, token in zip(self.logprobs, self.tokens, strict=True)]


def compare(db: Database, resident: Resident, rollout: Rollout, checkpoint: str) -> Under:
    """Return a response under another checkpoint, at the temperature that it was sampled at.

    Raises:
        StudioError: the checkpoint gives no answers or has another vocabulary, or the process failed.
    """
    run, tokens = runs.get(db, rollout.run), rollouts.tokens_of(db, rollout.id)
    table = rollouts.token_table(db, rollout)
    texts = rollouts.token_texts(db, run.id, tokens.response_ids)
    config = steering.config_at(db, run, rollout.iteration - 1)
    assert isinstance(config, PPOConfig)
    known = [texts.get(token) for token in tokens.response_ids]
    found = resident.read(checkpoint, tokens.prompt_ids, tokens.response_ids, known, config.temperature)
    reward, score, why_none = _score(db, resident, rollout, config)
    name = checkpoints.get(db, checkpoint).name
    return Under(name, table, found, reward, score, why_none)


def _score(db: Database, resident: Resident, rollout: Rollout, config: PPOConfig) -> tuple[str, float | None, str]:
    """Return the run's reward model, else the newest one, with its score; or why there is none."""
    newest = None if config.needs_reward_checkpoint else checkpoints.newest(db, "reward")
    name = config.reward_checkpoint if config.needs_reward_checkpoint else newest.name if newest else ""
    if not name:
        return "", None, "There is no reward model."
    try:
        members = resident.score(name, rollout.messages, [rollout.response], [rollout.end_reason])[0]
    except StudioError as error:
        return name, None, str(error)
    return name, fmean(members), ""
