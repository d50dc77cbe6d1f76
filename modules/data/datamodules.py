"""Rows to batches, in an order that depends on the seed alone and can resume at any step.

Rows are plain dicts (see each class). All are encoded at construction, so the number of steps is known before the
trainer is built. Rows that are too long or cannot be encoded are dropped and counted in `dropped`. A row of raw text
brings ``ids`` instead of ``messages``: no chat template touches it, and as a demonstration all of it is taught.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import lightning.pytorch as L
import torch
from torch import Tensor

from modules.data.batch_order import in_order, permutation, plan_by_length, plan_by_prompt, stream
from modules.data.chat import ChatFormat, Encoded
from modules.data.dropped import TOO_LONG, Dropped, drop, reason_of, told
from modules.data.preferences import Answer, Comparisons, Pairs, bootstrap_weights, offtopic_pairs
from modules.data.sequences import Sequences, pad_rows
from modules.errors import DataError
from modules.runtime.distributed import share

Row = Mapping[str, Any]
Batch = TypeVar("Batch")


class Batches(Generic[Batch]):
    """A finite list of batches that are made when they are asked for.

    Args:
        plan: Row indices of each batch.
        make: Turns row indices into a batch; of a data-parallel run's rows it gets this process's share, which may be none.
        is_dealt: False gives all rows to each process.
    """

    def __init__(
        self, plan: Sequence[Sequence[int]], make: Callable[[Sequence[int]], Batch], *, is_dealt: bool = True
    ) -> None:
        self.plan, self.make, self.is_dealt = plan, make, is_dealt

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[Batch]:
        for rows in self.plan:
            yield self.make(share(rows) if self.is_dealt else rows)


class PPOBatch(NamedTuple):
    """One iteration's material."""

    prompts: list[list[int]]
    """Prompts as ids."""
    demonstrations: Sequences | None
    """Demonstrations to mix in, if any."""
    yardstick: Sequences | None = None
    """Demonstrations whose mean score counts as 0; with the first iteration only, and only if asked for."""


class PPOHeldOut(NamedTuple):
    """Held-out material of PPO."""

    prompts: list[list[int]]
    """Prompts as ids."""
    demonstrations: Sequences | None
    """Held-out demonstrations of all categories."""
    is_excluded: Tensor
    """(B,) bool, True on demonstrations of categories that PPO leaves out."""


class _Rows(L.LightningDataModule):
    """Rows encoded by a chat format; those that cannot be used are dropped and counted."""

    def __init__(self, chat: ChatFormat, start_step: int) -> None:
        super().__init__()
        self.pad_id, self.start_step = chat.pad_id, start_step
        self.dropped = Dropped()


class SFTDataModule(_Rows):
    """Demonstrations: ``{"prompt_id", "category", "messages"}``, the last message being the assistant's.

    Args:
        rows: Training demonstrations.
        validation_rows: Held-out ones; may be empty.
        chat: The backbone's chat format.
        batch_size, epochs, max_length, seed: See `SFTConfig`.
        start_step: Steps already done, when a run is resumed.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        validation_rows: Sequence[Row],
        chat: ChatFormat,
        *,
        batch_size: int = 16,
        epochs: int = 1,
        max_length: int = 512,
        seed: int = 0,
        start_step: int = 0,
    ) -> None:
        super().__init__(chat, start_step)
        encode = _encoder(chat.encode_conversation, "messages", max_length, self.dropped)
        self.rows = [row for row in map(encode, rows) if row is not None]
        self.validation_rows = [row for row in map(encode, validation_rows) if row is not None]
        _require(self.rows, "demonstrations", self.dropped)
        self.batch_size = batch_size
        self.plan = plan_by_length([len(row.ids) for row in self.rows], batch_size, epochs, seed)

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return len(self.plan)

    def sample_prompts(self, count: int) -> list[list[int]]:
        """Return the first held-out demonstrations, at most ``count``, up to where the assistant speaks last."""
        rows = self.validation_rows[:count]
        return [row.ids[: len(row.ids) - list(reversed(row.mask)).index(False)] for row in rows]

    def train_dataloader(self) -> Batches[Sequences]:
        """Return the batches from `start_step` on."""
        return Batches(self.plan[self.start_step :], lambda rows: _pad([self.rows[i] for i in rows], self.pad_id))

    def val_dataloader(self) -> Batches[Sequences]:
        """Return held-out demonstrations in a fixed order."""
        plan = in_order(len(self.validation_rows), self.batch_size)
        return Batches(plan, lambda rows: _pad([self.validation_rows[i] for i in rows], self.pad_id))


class RewardDataModule(_Rows):
    """Comparisons: ``{"comparison_id", "prompt_id", "category", "messages", "chosen", "rejected", "target_p", "margin",
    "weight"}``, the messages ending with the user's turn and the responses being texts; ``"strength"`` may be there. So may
    ``"chosen_end_reason"`` and ``"rejected_end_reason"``, or ``"end_reason"`` for both: ``eos`` or ``length`` of a response
    that was sampled; one that was cut off gets no end token, as PPO's reward would see it. Or rankings, which become all their pairs (`modules.data.preferences.pairs_of`).

    All pairs of a prompt come in one batch; shuffled pairs overfit (InstructGPT). Of more pairs than a batch holds, those
    that share a response stay together.

    Args:
        rows: Training comparisons.
        validation_rows: Held-out ones, of other prompts; may be empty.
        chat: The backbone's chat format.
        demonstrations: As in SFT; their responses must score 0 on average in the end.
        batch_size, epochs, max_length, weighting, ensemble, offtopic_share, seed: See `RewardConfig`.
        start_step: Steps already done, when a run is resumed.

    Raises:
        DataError: No rows are left, or a prompt is in both sets.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        validation_rows: Sequence[Row],
        chat: ChatFormat,
        *,
        demonstrations: Sequence[Row] = (),
        batch_size: int = 16,
        epochs: int = 1,
        max_length: int = 512,
        weighting: Literal["pair", "prompt"] = "pair",
        ensemble: int = 1,
        offtopic_share: float = 0.0,
        seed: int = 0,
        start_step: int = 0,
    ) -> None:
        super().__init__(chat, start_step)
        leaked = {row["prompt_id"] for row in rows} & {row["prompt_id"] for row in validation_rows}
        if leaked:
            raise DataError(
                f"{len(leaked)} prompts (such as {min(map(str, leaked))}) are in the training and in the held-out comparisons, so the "
                "accuracy would be flattered: split comparisons by prompt."
            )
        self._pairs = Pairs(chat, max_length, weighting, self.dropped)
        self.rows = self._pairs.encode(rows)
        self.rows += offtopic_pairs(self.rows, offtopic_share, max_length, seed)
        self.validation_rows = self._pairs.encode(validation_rows)
        _require(self.rows, "comparisons", self.dropped)
        self.demonstrations = self._pairs.encode_demonstrations(demonstrations)
        prompts = [pair.prompt_id for pair in self.rows]
        self.bootstrap = bootstrap_weights(prompts, ensemble, seed)
        self.batch_size = batch_size
        self.plan = plan_by_prompt(
            prompts,
            batch_size,
            epochs,
            seed,
            counts_prompts=weighting == "prompt",
            sides=[(tuple(pair.chosen), tuple(pair.rejected)) for pair in self.rows],
        )

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return len(self.plan)

    def train_dataloader(self) -> Batches[Comparisons]:
        """Return the batches from `start_step` on."""
        return Batches(
            self.plan[self.start_step :],
            lambda rows: self._pairs.batch([self.rows[i] for i in rows], self.bootstrap[list(rows)]),
        )

    def val_dataloader(self) -> Batches[Comparisons]:
        """Return held-out comparisons in a fixed order."""
        plan = in_order(len(self.validation_rows), self.batch_size)
        return Batches(
            plan, lambda rows: self._pairs.batch([self.validation_rows[i] for i in rows], torch.ones(len(rows), 1))
        )

    def reference_answers(self) -> list[Sequences]:
        """Return batches of what must score 0 on average: demonstrations or, without any, the preferred responses."""
        preferred = {(*pair.prompt, *pair.chosen): Answer(pair.prompt, pair.chosen) for pair in self.rows}
        answers = self.demonstrations or list(preferred.values())
        return [self._pairs.pad([answers[i] for i in rows]) for rows in in_order(len(answers), self.batch_size)]


class PPODataModule(_Rows):
    """Prompts: ``{"prompt_id", "category", "messages"}`` ending with the user's turn; demonstrations as in SFT.

    Args:
        prompts: Training prompts; those of excluded categories are left out.
        validation_prompts: Held-out prompts; likewise.
        chat: The backbone's chat format.
        demonstrations: Training demonstrations, needed for ptx only.
        validation_demonstrations: Held-out demonstrations of all categories, for the alignment tax.
        excluded: Categories not trained on.
        ptx_per_iteration: Demonstrations handed out with each iteration; 0 for none.
        is_centred: Hand out the held-out demonstrations of the categories trained on with the first iteration.
        batch_size, iterations, max_prompt_length, max_length, eval_prompts, seed: See `PPOConfig`.
        start_step: Iterations already done, when a run is resumed.
    """

    def __init__(
        self,
        prompts: Sequence[Row],
        validation_prompts: Sequence[Row],
        chat: ChatFormat,
        *,
        demonstrations: Sequence[Row] = (),
        validation_demonstrations: Sequence[Row] = (),
        excluded: frozenset[str] = frozenset(),
        ptx_per_iteration: int = 0,
        is_centred: bool = False,
        batch_size: int = 64,
        iterations: int = 100,
        max_prompt_length: int = 256,
        max_length: int = 512,
        eval_prompts: int = 64,
        seed: int = 0,
        start_step: int = 0,
    ) -> None:
        super().__init__(chat, start_step)
        self.seed, self.iterations = seed, iterations
        self.batch_size, self.ptx_per_iteration = batch_size, ptx_per_iteration
        to_prompt = _encoder(chat.encode_prompt, "messages", max_prompt_length, self.dropped)
        to_row = _encoder(chat.encode_conversation, "messages", max_length, self.dropped)

        def encode(rows: Sequence[Row]) -> list[tuple[Row, list[int]]]:
            encoded = [(row, to_prompt(row)) for row in rows if row["category"] not in excluded]
            return [(row, found.ids) for row, found in encoded if found is not None]

        train, held_out = encode(prompts), encode(validation_prompts)
        self.prompts = [ids for _, ids in train]
        self.row_of: dict[tuple[int, ...], Row] = {tuple(ids): row for row, ids in [*held_out, *train]}
        """The row that a prompt's ids come from: a rollout holds ids only."""
        _require(self.prompts, "prompts", self.dropped)
        picked = [held_out[i] for i in permutation(len(held_out), seed)[:eval_prompts]]
        self.validation_rows = [row for row, _ in picked]
        self.validation_prompts = [ids for _, ids in picked]
        self.demonstrations = (
            [row for row in map(to_row, demonstrations) if row is not None] if ptx_per_iteration else []
        )
        if ptx_per_iteration:
            _require(self.demonstrations, "demonstrations for ptx_coef", self.dropped)
        tax = [(to_row(row), row["category"] in excluded) for row in validation_demonstrations]
        self.validation_demonstrations = [row for row, _ in tax if row is not None]
        self.is_excluded = torch.tensor([flag for row, flag in tax if row is not None], dtype=torch.bool)
        self.yardstick = [row for row, flag in tax if row is not None and not flag] if is_centred else []
        if is_centred:
            _require(self.yardstick, "held-out demonstrations for center_on", self.dropped)

    @property
    def num_steps(self) -> int:
        """Iterations of the whole run."""
        return self.iterations

    def train_dataloader(self) -> Batches[PPOBatch]:
        """Return the iterations from `start_step` on; each takes the next prompts of an endless, reshuffled stream."""
        plan = [[i] for i in range(self.start_step, self.iterations)]
        return Batches(plan, lambda step: self._make(step[0]), is_dealt=False)

    def val_dataloader(self) -> Batches[PPOHeldOut]:
        """Return one batch with everything held out, of which a process measures its share; none without any."""
        rows = self.validation_demonstrations
        held_out = PPOHeldOut(self.validation_prompts, _pad(rows, self.pad_id) if rows else None, self.is_excluded)
        return Batches([[0]] if rows or self.validation_prompts else [], lambda _: held_out, is_dealt=False)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move demonstrations only; prompts stay lists of ids."""
        names = [name for name in ("demonstrations", "yardstick") if getattr(batch, name, None) is not None]
        return batch._replace(**{name: getattr(batch, name).to(device) for name in names})

    def _make(self, step: int) -> PPOBatch:
        picked = stream(len(self.prompts), self.batch_size, step, self.seed)
        prompts = [self.prompts[i] for i in share(picked)]
        rows = self.yardstick if step == 0 else []
        yardstick = _pad(share(rows), self.pad_id) if rows else None
        if not self.ptx_per_iteration:
            return PPOBatch(prompts, None, yardstick)
        picked = stream(len(self.demonstrations), self.ptx_per_iteration, step, self.seed + 1)
        return PPOBatch(prompts, _pad([self.demonstrations[i] for i in share(picked)], self.pad_id), yardstick)


def _encoder(
    encode: Callable[[Any], Encoded], key: str, max_length: int, dropped: Counter[str]
) -> Callable[[Row], Encoded | None]:
    """Return a function from rows to ids that drops and counts what cannot be used."""

    def apply(row: Row) -> Encoded | None:
        try:
            encoded = _ready(row["ids"]) if "ids" in row else encode(row[key])
        except DataError as error:
            drop(dropped, reason_of(error), row)
            return None
        if len(encoded.ids) > max_length:
            drop(dropped, TOO_LONG, row)
            return None
        return encoded

    return apply


def _ready(ids: Sequence[int]) -> Encoded:
    """Return raw text as taught from its first token to its last."""
    if not ids:
        raise DataError("A row's ids are empty: give it some tokens, or leave it out.")
    return Encoded(list(ids), [True] * len(ids))


def _require(rows: Sequence[object], what: str, dropped: Counter[str]) -> None:
    if not rows:
        reasons = told(dropped) or "none were given"
        allow = ", or allow a greater length" if not dropped or TOO_LONG in dropped else " that can be used"
        raise DataError(f"There are no {what} to train on ({reasons}): add some{allow}.")


def _pad(rows: Sequence[Encoded], pad_id: int) -> Sequences:
    return pad_rows([row.ids for row in rows], [row.mask for row in rows], pad_id)
