"""Tells what each round of the loop brought: its reward model, and what its policy won, moved and lost against SFT."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from studio.evaluation import leaderboard
from studio.evaluation.leaderboard import HeadToHead
from studio.models import checkpoints
from studio.models.checkpoints import Checkpoint
from studio.preferences.snapshots import Snapshot
from studio.runs import metrics, rounds
from studio.runs.rounds import Round
from studio.workspace import Workspace

TAX = ("eval/tax_loss", "eval/demonstration_loss")
"""Losses in nats a token whose change since SFT is the tax; the first that a policy has."""


@dataclass(frozen=True)
class RoundFigures:
    """The newest reward model and policy of a round, and their figures where they are known."""

    number: int
    snapshot: Snapshot | None
    """What the reward model trained on, or the policy without one."""
    reward: Checkpoint | None
    policy: Checkpoint | None
    """Of PPO, or else of DPO."""
    sft: str
    """The SFT checkpoint that the policy began with; empty without one."""
    votes: HeadToHead | None
    """Votes on answers of the policy and of the SFT checkpoint that it began with."""
    tax: float | None
    """Relative change of the policy's loss on held-out demonstrations since SFT."""

    @property
    def accuracy(self) -> float | None:
        """Held-out accuracy of the reward model."""
        return self.reward.metrics.get("eval/accuracy") if self.reward else None

    @property
    def kl(self) -> float | None:
        """KL of the policy from SFT, in nats a response."""
        return self.policy.metrics.get("eval/kl") if self.policy else None

    @property
    def sentence(self) -> str:
        """All that is known, in words."""
        said = [f"{self.snapshot.row_count:,} preferences"] if self.snapshot else []
        if self.accuracy is not None:
            said.append(f"held-out accuracy {self.accuracy:.0%}")
        if self.votes:
            v = self.votes
            said.append(f"won {v.half:.0%} against SFT ({v.half_low:.0%} to {v.half_high:.0%}, {v.counted})")
        if self.kl is not None:
            said.append(f"KL {self.kl:.1f}")
        if self.tax is not None:
            said.append(f"tax {self.tax:+z.1%}")
        return ", ".join(said)


def read(ws: Workspace) -> list[RoundFigures]:
    """Return the rounds in which a reward model or a policy was trained, the newest first."""
    found, _ = rounds.read(ws)
    with ws.read() as db:
        return of(db, found)


def of(db: Database, found: Sequence[Round]) -> list[RoundFigures]:
    """Return the figures of those of these rounds in which a reward model or a policy was trained, in their order."""
    policies = {each.number: policy for each in found if (policy := _newest(each, "ppo") or _newest(each, "dpo"))}
    won = leaderboard.against_sft(db, list(policies.values()))
    told = [_figures(db, each, policies.get(each.number), won) for each in found]
    return [each for each in told if each.reward or each.policy]


def _figures(db: Database, found: Round, policy: Checkpoint | None, won: dict[str, HeadToHead]) -> RoundFigures:
    reward = _newest(found, "reward")
    learned_from = reward or policy
    trained = [member.snapshot for member in found.members if member.checkpoint == learned_from]
    return RoundFigures(
        found.number,
        next(iter(trained), None),
        reward,
        policy,
        checkpoints.parents_of_run(db, policy.run_id).get("sft", "") if policy else "",
        won.get(policy.name) if policy else None,
        _tax(db, policy) if policy else None,
    )


def _newest(found: Round, stage: str) -> Checkpoint | None:
    return next((m.checkpoint for m in reversed(found.members) if m.run.stage == stage), None)


def _tax(db: Database, policy: Checkpoint) -> float | None:
    """Return the relative change of the loss since SFT, whose own is the first that the first run from it measured."""
    name = next((each for each in TAX if each in policy.metrics), "")
    before = metrics.first(db, _first_run(db, policy.run_id)).get(name)
    return policy.metrics[name] / before - 1 if before else None


def _first_run(db: Database, run_id: int) -> int:
    """Return the run that began with SFT, from which the given one goes on, over policies and resumed runs."""
    while True:
        before = db.execute(
            "SELECT p.id, p.stage FROM runs r LEFT JOIN run_parents rp ON rp.run_id = r.id AND rp.role = 'policy'"
            " JOIN checkpoints c ON c.id = coalesce(r.resumed_from, rp.checkpoint_id) JOIN runs p ON p.id = c.run_id"
            " WHERE r.id = ? AND p.id < r.id",
            [run_id],
        ).fetchone()
        if before is None or before[1] == "sft":
            return run_id
        run_id = before[0]
