"""One base model that plays several roles: policy, reference, reward model, value function.

With LoRA the roles are adapters on one base in memory, 4-bit or not; with ``full`` each is its own model. A role that
scores has a float32 head on top. Forward *and* backward of a role happen inside one ``with backbone.role(name):`` block,
since gradient checkpointing runs the forward again during the backward.

    backbone = Backbone.load("path/or/hub-id", method="lora")
    backbone.add_role("policy", trainable=True)
    with backbone.role("policy"):
        hidden = backbone.hidden(ids)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from modules.config import RolloutWeights
from modules.data.chat import ChatFormat
from modules.errors import CheckpointError, ConfigError
from modules.model.files import check_kind
from modules.model.files.tokens import beyond
from modules.model.heads import head_tensors, load_head, member_outputs, new_head, num_members
from modules.model.loading import FixedCache, check_vocabulary, output_logits
from modules.model.pretrained import (
    blueprint,
    end_ids,
    find_model,
    fingerprint,
    load_model,
    load_tokenizer,
    output_width,
    positions_of,
)
from modules.model.roles import FullRoles, LoraRoles, LoraSettings, read_weights
from modules.runtime.devices import pick_device, pick_dtype

HEAD_WEIGHTS = "head.safetensors"


class Backbone(nn.Module):
    """A base model and its roles. Build it with `Backbone.load`.

    Attributes:
        base_model: The name it was loaded by.
        fingerprint: Identifies base model and tokenizer, wherever they lie.
        tokenizer: The base model's tokenizer.
        chat: How conversations become ids.
        method, quantisation: As given to `load`.
        device: Where everything is.
    """

    def __init__(
        self,
        roles: LoraRoles | FullRoles,
        *,
        base_model: str,
        folder: Path,
        tokenizer: PreTrainedTokenizerBase,
        chat: ChatFormat,
        method: str,
        quantisation: str,
        dtype: torch.dtype,
        device: torch.device,
        hidden_size: int,
        vocab_size: int,
        context_length: int,
    ) -> None:
        super().__init__()
        self.roles = roles
        self.heads = nn.ModuleDict()
        self.base_model = base_model
        self.fingerprint = fingerprint(folder)
        self.tokenizer = tokenizer
        self.chat = chat
        self.method, self.quantisation = method, quantisation
        self.dtype, self.device = dtype, device
        self.hidden_size, self.vocab_size, self.context_length = hidden_size, vocab_size, context_length
        self._without_row = check_vocabulary(chat, vocab_size, folder)
        """Ids that texts may hold but the embedding does not, with their tokens."""
        self._trunks: dict[str, str] = {}
        """Role that is a head alone to the role whose hidden states it reads."""
        self._stack: list[str] = []
        self._model: PreTrainedModel | None = None

    @classmethod
    def load(
        cls,
        base_model: str,
        *,
        method: str = "lora",
        quantisation: str = "none",
        precision: str = "auto",
        device: str = "auto",
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        lora_dropout: float = 0.0,
        lora_targets: str | None = None,
        gradient_checkpointing: bool = False,
        chat_template: str = "auto",
    ) -> "Backbone":
        """Load a base model without any role yet; the arguments are the fields of the configs.

        The shape of adapters (``lora_rank``, ``lora_alpha``, ``lora_targets``) is that of fresh ones: 16, 32 and all-linear
        where None is given. Those from a folder keep their own, and one that contradicts what was given is refused.

        Raises:
            BaseModelError: It cannot be found, loaded or used.
            ConfigError: Settings do not go together, or there is no such device.
        """
        _check_choices(method, quantisation)
        if method == "full" and quantisation != "none":
            raise ConfigError("4-bit weights cannot be trained in full: choose method lora, or quantisation none.")
        where = pick_device(device)
        dtype = pick_dtype(precision, where)
        folder = find_model(base_model)
        check_kind(folder, method, quantisation)
        tokenizer = load_tokenizer(folder)
        roles: LoraRoles | FullRoles
        if method == "lora":
            model = load_model(folder, dtype=dtype, device=where, quantisation=quantisation)
            if gradient_checkpointing:
                model.activation_checkpointing_enable()
            config = model.config
            width = output_width(model)
            roles = LoraRoles(model, LoraSettings(lora_rank, lora_alpha, lora_dropout, lora_targets), base_model)
        else:
            roles = FullRoles(folder, dtype, where, gradient_checkpointing)
            config = roles.base_config()
            width = output_width(blueprint(config))
        text = config.get_text_config()
        return cls(
            roles,
            base_model=base_model,
            folder=folder,
            tokenizer=tokenizer,
            chat=ChatFormat(tokenizer, chat_template, end_ids(config, folder)),
            method=method,
            quantisation=quantisation,
            dtype=dtype,
            device=where,
            hidden_size=width,
            vocab_size=text.vocab_size,
            context_length=positions_of(config, folder),
        )

    def add_role(
        self,
        name: str,
        *,
        source: Path | None = None,
        copy_of: str | None = None,
        trainable: bool = False,
        head: bool = False,
        members: int = 1,
        trunk_of: str | None = None,
    ) -> None:
        """Add a role: from a checkpoint's role folder, as a copy of another role, on another role's trunk, or fresh.

        Args:
            name: Such as ``policy``.
            source: A folder that `save_role` wrote.
            copy_of: A role that exists.
            trainable: True if its weights require gradients.
            head: True if it scores. The head comes from where the weights come from; where there is none, it is
                drawn from N(0, 1 / (H + 1)), that is with standard deviation 1 / sqrt(H + 1), as a reward model starts.
            members: Of a head that is an ensemble. A folder's head keeps its own; a copy for 1 is the mean head.
            trunk_of: A frozen role whose hidden states the head reads; the role then is a head, a copy of that role's, and
                has no other weights.
        """
        assert (source, copy_of, trunk_of).count(None) >= 2, "a role comes from a folder or from one other role"
        assert "." not in name, f"{name!r} cannot be the name of a role"
        if trunk_of is not None:
            assert head
            assert not any(p.requires_grad for p in self.roles.named_parameters_of(trunk_of).values())
            self._trunks[name] = trunk_of
        else:
            self.roles.add(name, source=source, copy_of=copy_of, trainable=trainable)
        if head:
            self.heads[name] = self._new_head(source, copy_of or trunk_of, members).requires_grad_(trainable)

    @contextmanager
    def role(self, name: str) -> Iterator[None]:
        """Activate a role inside the block; the role before it returns afterwards, after exceptions too."""
        assert name in self._trunks or self.roles.has(name), f"there is no role {name!r}"
        self._enter(name)
        self._stack.append(name)
        try:
            yield
        finally:
            self._stack.pop()
            if self._stack:
                self._enter(self._stack[-1])

    @contextmanager
    def sampling(self, name: str, weights: RolloutWeights = "auto") -> Iterator[None]:
        """Activate a role for sampling: in evaluation mode (no dropout, nor checkpointing, which drops the cache)."""
        assert not self._stack, "sampling does not happen inside another role"
        was_training = self.training
        self.eval()
        try:
            with self.role(name), self.roles.folded(name, weights):
                yield
        finally:
            self.train(was_training)

    def hidden(
        self, ids: Tensor, mask: Tensor | None = None, *, cache: Cache | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Return the last hidden states of the active role.

        Args:
            ids: (B, T) token ids.
            mask: (B, T) bool, True on tokens to attend to, with any padding. None if rows are padded on the right only:
                no token then sees a pad, and the plain causal attention is faster. With a cache it covers the past too.
            cache: Keys and values of the past, extended in place.
            positions: (B, T) positions; None counts kept tokens.

        Returns:
            (B, T, H) in the model's number format.

        Raises:
            ConfigError: There are more tokens than the model has positions.
        """
        longest = ids.shape[1] if positions is None else int(positions.max()) + 1
        if longest > self.context_length:
            raise ConfigError(
                f"A text of {longest} tokens does not fit into this model, which has {self.context_length} positions: lower "
                "max_length (in PPO max_prompt_length and max_new_tokens)."
            )
        if self._without_row:
            self._check_rows(ids)
        if positions is None and mask is not None:
            positions = (mask.long().cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        with self._autocast():
            output = self._active().base_model(
                input_ids=ids,
                attention_mask=None if mask is None else mask.long(),
                position_ids=positions,
                past_key_values=cache,
                use_cache=cache is not None,
            )
        return output.last_hidden_state

    def new_cache(self, room: int) -> FixedCache:
        """Return an empty cache of the active role for texts of at most ``room`` tokens."""
        return FixedCache(self._active(), room)

    def next_hidden(self, tokens: Tensor, kept: Tensor, positions: Tensor, cache: FixedCache) -> Tensor:
        """Return as `hidden` for one more token (N, 1) a row, with no look at any number.

        The positions (N, 1) must be below `context_length`; ``kept`` (N, C) bool says which columns of the cache to attend to.
        """
        with self._autocast():
            output = self._active().base_model(
                input_ids=tokens,
                attention_mask=cache.mask(kept, self.dtype),
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            )
        return output.last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        """Return float32 logits (..., V) of hidden states (..., H); for many positions use `modules.losses`."""
        with self._autocast():
            return output_logits(self._active(), hidden)

    def logits_of(self, name: str, hidden: Tensor) -> Tensor:
        """Return as `logits`, by the output layer of a role that need not be active; a switch only where that is adapted."""
        if (model := self.roles.output_model(name)) is None:
            with self.role(name):
                return self.logits(hidden)
        with self._autocast():
            return output_logits(model, hidden)

    def values(self, hidden: Tensor) -> Tensor:
        """Apply the active role's head to hidden states (..., H): float32 values (...)."""
        head = self.heads[self._stack[-1]]
        with torch.autocast(self.device.type, enabled=False):
            return head(hidden.float()).squeeze(-1)

    def scores(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the active role's score (B,) of each row, read at its last real token.

        ``ids`` (B, T) are padded on the right, and ``lengths`` (B,) count a row's real tokens.
        """
        hidden = self.hidden(ids)
        rows = torch.arange(len(ids), device=ids.device)
        return self.values(hidden[rows, lengths - 1])

    def member_scores(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return as `scores`, by each member of the active role's head: (B, M). Their mean is the score."""
        hidden = self.hidden(ids)
        last = hidden[torch.arange(len(ids), device=ids.device), lengths - 1]
        with torch.autocast(self.device.type, enabled=False):
            return member_outputs(self.heads[self._stack[-1]], last.float())

    def role_parameters(self, name: str) -> dict[str, nn.Parameter]:
        """Return a role's own tensors by name, its head included; never the shared base."""
        own = {} if name in self._trunks else dict(self.roles.named_parameters_of(name))
        if name in self.heads:
            own |= {f"head.{key}": value for key, value in self.heads[name].named_parameters()}
        return own

    def is_head_alone(self, name: str) -> bool:
        """Return whether a role only reads the hidden states of a frozen one."""
        return name in self._trunks

    @torch.no_grad()
    def shift_head(self, name: str, by: float | Tensor) -> None:
        """Add a constant to everything a role's head returns; a tensor (M,) is one for each member."""
        head = self.heads[name]
        assert isinstance(head, nn.Linear)
        head.bias.data += by

    @torch.no_grad()
    def scale_head(self, name: str, by: float) -> None:
        """Multiply everything a role's head returns; by 0 it returns 0."""
        for parameter in self.heads[name].parameters():
            parameter.mul_(by)

    def save_role(self, name: str, folder: Path) -> None:
        """Write a role so that plain peft (or, with ``full``, transformers) reads it, next to its head."""
        if name in self._trunks:
            folder.mkdir(parents=True, exist_ok=True)
        else:
            self.roles.save(name, folder)
        if name in self.heads:
            save_file(head_tensors(self.heads[name]), folder / HEAD_WEIGHTS)

    def load_role(self, name: str, folder: Path) -> None:
        """Overwrite a role's weights in place with those that `save_role` wrote."""
        if name not in self._trunks:
            self.roles.load(name, folder)
        if name in self.heads:
            load_head(self.heads[name], _read_head(folder))

    def begin_again(self, name: str, folder: Path) -> None:
        """Overwrite a role's weights in place with those of a folder without a head, and draw its head again."""
        self.roles.load(name, folder)
        head = self.heads[name]
        assert isinstance(head, nn.Linear)
        head.load_state_dict(new_head(self.hidden_size, head.out_features).state_dict())

    def disable_dropout(self) -> None:
        """Switch the adapters' dropout off for good: log-probabilities in PPO have to repeat."""
        self.roles.disable_dropout()

    def _new_head(self, source: Path | None, copy_of: str | None, members: int) -> nn.Linear:
        found = None
        if copy_of is not None and copy_of in self.heads:
            found = head_tensors(self.heads[copy_of])
        if source is not None and (source / HEAD_WEIGHTS).is_file():
            found = _read_head(source)
            members = num_members(found)
        head = new_head(self.hidden_size, members)
        if found is not None:
            load_head(head, found)
        return head.to(self.device)

    def _check_rows(self, ids: Tensor) -> None:
        """Refuse ids without an embedding row; on a GPU the lookup would end the process."""
        largest = int(ids.max())
        if largest in self._without_row:
            raise beyond(self.base_model, self._without_row[largest], largest, self.vocab_size)

    def _enter(self, name: str) -> None:
        self._model = self.roles.activate(self._trunks.get(name, name))

    def _active(self) -> PreTrainedModel:
        assert self._stack, "use the backbone inside `with backbone.role(name):`"
        assert self._model is not None
        return self._model

    def _autocast(self) -> torch.autocast:
        """Compute in the format that was asked for where float32 weights are trained in full."""
        is_mixed = self.method == "full" and self.dtype is not torch.float32
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=is_mixed)


def _check_choices(method: str, quantisation: str) -> None:
    """Refuse what is not a choice here: a config says auto until `studio.models.parents` has filled it."""
    for name, given, choices in (("method", method, ("lora", "full")), ("quantisation", quantisation, ("none", "nf4"))):
        if given not in choices:
            raise ConfigError(f"{name} is {given!r}: give {choices[0]} or {choices[1]}, as the model was trained.")


def _read_head(folder: Path) -> dict[str, Tensor]:
    if not (folder / HEAD_WEIGHTS).is_file():
        raise CheckpointError(
            f"The role in {folder} has no {HEAD_WEIGHTS}, so it cannot score: choose a reward checkpoint."
        )
    return read_weights(folder / HEAD_WEIGHTS)
