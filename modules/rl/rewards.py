"""Rewards for PPO behind one interface: a `ScoreFunction` turns a rollout into raw scores (B,).

    texts = Texts(backbone.chat, data.row_of)
    function = load_function("def short(prompts, responses): return [-len(r) for r in responses]", "a.py", "short")
    mix = RewardMix([(term, RoleReward(backbone)), (other, FunctionReward(function, "a.py:short", texts))], backbone.device)
    PPOModule(backbone, score_function=mix)

The role ``reward`` sees the same ids; a classifier, which has a tokenizer of its own, and a function see texts.
"""

import inspect
import math
import sys
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from modules.config.reward_terms import RewardTerm
from modules.data.chat import ChatFormat, Message
from modules.data.sequences import by_length, pad_rows
from modules.data.templates.controls import Controls, around
from modules.data.templates.own import fault_of_template
from modules.data.templates.trial import TooLong, in_time
from modules.errors import NonFiniteError, RewardError
from modules.model.backbone import Backbone
from modules.model.generate import Rollout
from modules.model.pretrained import find_model, load_classifier, load_tokenizer
from modules.rl import labels
from modules.rl.experience import ScoreFunction, reward_scores

UNLIMITED = 10**6
"""A tokenizer that names no longest text has a number above this."""


class Texts:
    """Reads a rollout, which holds ids only.

    Args:
        chat: The backbone's chat format.
        row_of: Prompt ids to the row they come from; a prompt without a row is decoded.
    """

    def __init__(self, chat: ChatFormat, row_of: Mapping[tuple[int, ...], Mapping[str, Any]] | None = None) -> None:
        self.chat, self.row_of = chat, row_of or {}

    def conversations(self, rollout: Rollout) -> list[list[Message]]:
        """Return the turns that were answered, ending with the user's."""
        return [self._messages(prompt) for prompt in rollout.prompts]

    def responses(self, rollout: Rollout) -> list[str]:
        """Return the responses, without special tokens."""
        return [self.chat.decode(response) for response in rollout.responses]

    def _messages(self, prompt: list[int]) -> list[Message]:
        row = self.row_of.get(tuple(prompt))
        return list(row["messages"]) if row else [{"role": "user", "content": self.chat.decode(prompt)}]


class RoleReward:
    """The backbone's role ``reward``.

    Args:
        backbone: With that role.
        micro_batch_size: Responses per forward pass.
        pessimism: See ``reward_pessimism`` in `PPOConfig`.
    """

    def __init__(self, backbone: Backbone, micro_batch_size: int = 32, pessimism: float = 0.0) -> None:
        self.backbone, self.micro_batch_size, self.pessimism = backbone, micro_batch_size, pessimism

    def __call__(self, rollout: Rollout) -> Tensor:
        """Return scores (B,)."""
        return reward_scores(self.backbone, rollout, self.micro_batch_size, self.pessimism)


class ClassifierReward:
    """A sequence-classification model with its own tokenizer: the logit of its only label, or the log-odds of one label.

    It reads the conversation in its own chat template; without one, turns and response on lines of their own. Texts
    longer than it can read lose their beginning.

    Args:
        source: A folder in Hugging Face format, or a hub id; safetensors only.
        label: The good label, by name or number; empty for the only one, or the second of two.
        texts: Reads rollouts.
        dtype, device: Of its weights.
        micro_batch_size: Responses per forward pass.

    Raises:
        BaseModelError: It cannot be found or loaded.
        RewardError: It has no such label.
    """

    def __init__(
        self,
        source: str,
        label: str,
        texts: Texts,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        micro_batch_size: int = 32,
    ) -> None:
        folder = find_model(source)
        self.tokenizer = load_tokenizer(folder)
        self.model = load_classifier(folder, dtype=dtype, device=device or torch.device("cpu"))
        self.texts, self.micro_batch_size = texts, micro_batch_size
        names = {int(number): str(name) for number, name in (self.model.config.id2label or {}).items()}
        self.label = labels.find(label, names, source)
        self.pad_id = self._pad_id()
        self.model.config.get_text_config().pad_token_id = self.pad_id
        self.max_length = self._max_length()
        self.controls = Controls(token for token in self.tokenizer.all_special_tokens if len(token.strip()) > 1)
        self._check_template(source)

    @torch.no_grad()
    def __call__(self, rollout: Rollout) -> Tensor:
        """Return scores (B,), float32."""
        rows = [
            self._encode(conversation, response)
            for conversation, response in zip(
                self.texts.conversations(rollout), self.texts.responses(rollout), strict=True
            )
        ]
        sequences = pad_rows(rows, [[True] * len(row) for row in rows], self.pad_id).to(self.model.device)
        scores = torch.zeros(len(rows), device=self.model.device)
        for part in by_length(sequences.lengths, self.micro_batch_size):
            cut = sequences.rows(part)
            logits = self.model(input_ids=cut.ids, attention_mask=cut.mask.long()).logits.float()
            scores[part] = self._score(logits)
        return scores

    def _score(self, logits: Tensor) -> Tensor:
        """Map (B, labels) to (B,): the log-odds of the label, for two labels the difference of their logits."""
        if logits.shape[-1] == 1:
            return logits[:, 0]
        others = torch.cat([logits[:, : self.label], logits[:, self.label + 1 :]], dim=-1)
        return logits[:, self.label] - others.logsumexp(-1)

    def _encode(self, conversation: Sequence[Message], response: str) -> list[int]:
        messages = [*map(dict, conversation), {"role": "assistant", "content": response}]
        if any(self.controls.met(message["content"]) for message in messages):
            return self._encode_typed([m | {"content": self.controls.mark(m["content"])} for m in messages])
        text = self._written(messages)
        ids = self.tokenizer(
            text,
            add_special_tokens=not self.tokenizer.chat_template,
            truncation=True,
            max_length=self.max_length,
        )["input_ids"]
        return list(ids) or [self.pad_id]

    def _written(self, messages: Sequence[dict[str, str]]) -> str:
        if self.tokenizer.chat_template:
            try:
                with in_time():
                    return str(self.tokenizer.apply_chat_template(list(messages), tokenize=False))
            except TooLong as error:
                raise RewardError(
                    "The chat template of the classifier does not end for a text that it is to read: choose another classifier."
                ) from error
        return "\n".join(message["content"] for message in messages)

    def _encode_typed(self, marked: Sequence[dict[str, str]]) -> list[int]:
        """Encode turns in which control tokens are typed, as ordinary text."""
        ids = self.controls.encode_by(self.tokenizer, self._written(marked))
        before, after = ([], []) if self.tokenizer.chat_template else around(self.tokenizer)
        room = self.max_length - len(before) - len(after)
        return [*before, *ids[-room:], *after]

    def _pad_id(self) -> int:
        rows = self.model.config.get_text_config().vocab_size
        for known in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if isinstance(known, int) and known < rows:
                return known
        return 0

    def _check_template(self, source: str) -> None:
        """Refuse a chat template that refuses turns as the prompts have them, before anything is trained.

        Raises:
            RewardError: It refuses them.
        """
        if not self.tokenizer.chat_template:
            return
        fault = fault_of_template(self.tokenizer)
        if fault:
            raise RewardError(
                f"The chat template of the classifier {source} cannot be used, since it {fault}: choose another classifier."
            )
        rows = [list(row["messages"]) for row in self.texts.row_of.values()]
        kinds = {tuple(message["role"] for message in messages): messages for messages in rows}
        for roles, messages in (kinds or {("user",): [{"role": "user", "content": "a"}]}).items():
            try:
                self._encode(messages, "b")
            except Exception as error:  # jinja raises whatever a template's author chose
                raise RewardError(
                    f"The chat template of the classifier {source} refuses prompts whose turns are {', '.join(roles)} "
                    f"({_first_line(error)}): leave out such prompts (exclude_categories), or choose another classifier."
                ) from error

    def _max_length(self) -> int:
        self.tokenizer.truncation_side = "left"  # the response stands at the end
        config = self.model.config.get_text_config()
        positions = getattr(config, "max_position_embeddings", None) or UNLIMITED
        # Models like RoBERTa count positions from after their pad, so they read fewer tokens than they have rows.
        embedding = next((m for name, m in self.model.named_modules() if name.endswith("position_embeddings")), None)
        first = getattr(embedding, "padding_idx", None)
        read = positions if first is None else positions - first - 1
        return int(min(self.tokenizer.model_max_length, read))


class FunctionReward:
    """A Python function from lists of prompts and response texts to a list of numbers.

    A prompt is its user's text; a longer conversation has a line per turn, with the role in front. A function that names
    parameters ``prompt_ids`` or ``response_ids`` is also given the token ids.

    Args:
        function: What is called.
        name: Such as ``length.py:short_is_good``, for messages.
        texts: Reads rollouts.
    """

    def __init__(self, function: Callable[..., Any], name: str, texts: Texts) -> None:
        self.function, self.name, self.texts = function, name, texts
        self.wanted = _wanted_ids(function)

    def __call__(self, rollout: Rollout) -> Tensor:
        """Return scores (B,), float32.

        Raises:
            RewardError: The function failed, or returned something else than a number for each response.
            NonFiniteError: A number is not finite.
        """
        prompts = [_plain(conversation) for conversation in self.texts.conversations(rollout)]
        responses = self.texts.responses(rollout)
        ids = {"prompt_ids": rollout.prompts, "response_ids": rollout.responses}
        given = {name: [list(row) for row in ids[name]] for name in self.wanted}
        try:
            answers = [float(answer) for answer in self.function(list(prompts), list(responses), **given)]
        except (Exception, SystemExit) as error:  # somebody's own code may raise anything
            raise RewardError(
                f"The reward function {self.name} failed on {len(responses)} responses{_where(error, self.name)}: "
                f"{type(error).__name__}: {_first_line(error)}. It takes lists of prompts and responses and returns a list "
                "of numbers: correct it and start a new run."
            ) from error
        if len(answers) != len(responses):
            raise RewardError(
                f"The reward function {self.name} returned {len(answers)} numbers for {len(responses)} responses: it has to "
                "return one for each, in their order. Correct it and start a new run."
            )
        for answer, response in zip(answers, responses, strict=True):
            if not math.isfinite(answer):
                raise NonFiniteError(
                    f"The reward function {self.name} returned {answer} for the response {response[:80]!r}. The iteration was "
                    "not trained on and the weights are as they were: correct the function and start a new run."
                )
        return torch.tensor(answers, dtype=torch.float32)


class RewardMix:
    """A weighted sum of components.

    Args:
        components: Terms with what scores them.
        device: Where the sum is kept.
    """

    def __init__(self, components: Sequence[tuple[RewardTerm, ScoreFunction]], device: torch.device) -> None:
        self.components, self.device = list(components), device
        self.latest: dict[str, Tensor] = {}
        """Raw scores (B,) of the last responses by component, before the weights."""

    def __call__(self, rollout: Rollout) -> Tensor:
        """Return scores (B,), float32."""
        self.latest = {term.name: score(rollout).float().to(self.device) for term, score in self.components}
        return self._sum(term for term, _ in self.components)

    def role_part(self) -> Tensor:
        """Return what the role ``reward`` contributed to the last scores (B,)."""
        return self._sum(term for term, _ in self.components if term.kind == "reward")

    def _sum(self, terms: Any) -> Tensor:
        total = torch.zeros_like(next(iter(self.latest.values())))
        for term in terms:
            total = total + term.weight * self.latest[term.name]
        return total


def build_mix(
    terms: Sequence[RewardTerm],
    backbone: Backbone,
    texts: Texts,
    sources: Mapping[str, str],
    micro_batch_size: int,
    pessimism: float = 0.0,
) -> RewardMix:
    """Build the components that terms name; `sources` holds the source text of each function's file."""

    def component(term: RewardTerm) -> ScoreFunction:
        match term.kind:
            case "reward":
                return RoleReward(backbone, micro_batch_size, pessimism)
            case "classifier":
                options = {"dtype": backbone.dtype, "device": backbone.device, "micro_batch_size": micro_batch_size}
                return ClassifierReward(term.source, term.item, texts, **options)
            case "function":
                function = load_function(sources[term.source], term.source, term.item)
                return FunctionReward(function, f"{term.source}:{term.item}", texts)

    return RewardMix([(term, component(term)) for term in terms], backbone.device)


def role_part(score_function: ScoreFunction | None, scores: Tensor) -> Tensor:
    """Return the part of the last scores (B,) from the role ``reward``: the value function starts as its copy."""
    if score_function is None:
        return scores
    return score_function.role_part() if isinstance(score_function, RewardMix) else torch.zeros_like(scores)


def load_function(source: str, file: str, name: str) -> Callable[..., Any]:
    """Run the source text of a file and take a function from it.

    Raises:
        RewardError: The source fails, or holds no such function.
    """
    module = types.ModuleType(f"reward_{abs(hash(file))}")
    module.__file__ = file
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(source, file, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:  # somebody's own code may raise anything
        raise RewardError(
            f"The reward file {file} cannot be run{_where(error, file)}: {type(error).__name__}: {_first_line(error)}. Correct "
            "it and start a new run."
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise RewardError(
            f"The reward file {file} has no function {name}: name one that it defines, or add def {name}(prompts, responses)."
        )
    return function


def _wanted_ids(function: Callable[..., Any]) -> list[str]:
    try:
        known = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin
        return []
    return [name for name in ("prompt_ids", "response_ids") if name in known]


def _plain(conversation: Sequence[Message]) -> str:
    if len(conversation) == 1:
        return conversation[0]["content"]
    return "\n".join(f"{message['role']}: {message['content']}" for message in conversation)


def _where(error: BaseException, name: str) -> str:
    """Return the line of somebody's file that an error came from."""
    file = name.rpartition(":")[0] if not name.endswith(".py") else name
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if isinstance(error, SyntaxError):
        lines.append(error.lineno)
    return f" at line {lines[-1]}" if lines else ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]
