"""How a conversation becomes token ids, and which of them the model is taught; no torch.

The one idea: a text is tokenised in segments, one per assistant turn and one per stretch between them. Training and
sampling use the same segments, so the prompt that a model answers has the very ids it was trained on.

Three templates: the tokenizer's own, ``chatml``, and ``plain`` (each turn on a line of its own; an assistant turn ends
with the end token), which is for models that know no chat format.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from modules.errors import BaseModelError, ConfigError, DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, str]
"""One turn: ``{"role": "system" | "user" | "assistant", "content": ...}``."""

_ANCHOR = "\n"
_PROBE = ({"role": "user", "content": "qxa"}, {"role": "assistant", "content": "zwb"})


class Encoded(NamedTuple):
    """A conversation as ids."""

    ids: list[int]
    """Token ids, length T."""
    mask: list[bool]
    """True on the tokens of assistant turns, end tokens included; length T."""


class Segment(NamedTuple):
    """A stretch of text that is tokenised on its own."""

    text: str
    is_assistant: bool


class ChatFormat:
    """A tokenizer with one chat template and its end tokens.

    Args:
        tokenizer: A fast tokenizer.
        template: ``auto`` takes the tokenizer's own template, and ``plain`` where it has none.
        model_end_ids: End tokens named by the model's configuration, the preferred one first. They win over the
            tokenizer's: some models were trained with an end token that their tokenizer does not know as one.

    Raises:
        ConfigError: There is no such template, or the tokenizer's own would teach something else than it samples.
        BaseModelError: The model has no end token.
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", template: str = "auto", model_end_ids: Sequence[int] = ()
    ) -> None:
        self.tokenizer = tokenizer
        self.template = _resolve(tokenizer, template)
        self.joins_cleanly = _decode(tokenizer, self._raw("a") + self._raw("a")) == "aa"
        self.bos_ids = _leading_special_ids(tokenizer)
        if self.template == "own":
            self._check_own()
        self.end_id, self.end_text = self._find_end(model_end_ids)
        known = [tokenizer.eos_token_id] if isinstance(tokenizer.eos_token_id, int) else []
        self.stop_ids: frozenset[int] = frozenset([self.end_id, *model_end_ids, *known])
        """Any of these ends a response while sampling; only `end_id` is trained on."""
        pad = tokenizer.pad_token_id
        self.pad_id: int = pad if isinstance(pad, int) else self.end_id
        """Fills up rows. It may equal an end token: masks are never derived from it."""

    def encode_conversation(self, messages: Sequence[Message]) -> Encoded:
        """Encode a conversation that ends with an assistant turn.

        Raises:
            DataError: The last turn is not an assistant's.
        """
        if not messages or messages[-1]["role"] != "assistant":
            raise DataError(
                "A demonstration ends with a turn of another role than assistant, so there is no response to learn "
                "from: add the assistant's turn or leave the conversation out."
            )
        prompt = self.encode_prompt(messages[:-1])
        response = self.encode_response(messages[-1]["content"])
        return Encoded(prompt.ids + response, prompt.mask + [True] * len(response))

    def encode_prompt(self, messages: Sequence[Message]) -> Encoded:
        """Encode turns up to the point where the assistant is to speak; earlier assistant turns are True in the mask."""
        if self.template == "own":
            segments, ids = self._own_segments(messages), []
        else:
            segments, ids = self._built_in_segments(messages), list(self.bos_ids)
        mask = [False] * len(ids)
        for segment in segments:
            piece = self.encode_response(segment.text) if segment.is_assistant else self._encode(segment.text, not ids)
            ids += piece
            mask += [segment.is_assistant] * len(piece)
        if not ids:
            raise DataError("A prompt has no tokens: give it some text, or leave it out.")
        return Encoded(ids, mask)

    def encode_response(self, text: str) -> list[int]:
        """Ids of an assistant turn, with the end token."""
        return [*self._encode(text, False), self.end_id]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a response, without end and other special tokens, exactly as it would be encoded again."""
        kept = [token for token in ids if token not in self.stop_ids]
        if self.joins_cleanly:
            return _decode(self.tokenizer, kept)
        anchor = self._raw(_ANCHOR)
        return _decode(self.tokenizer, anchor + kept)[len(_decode(self.tokenizer, anchor)) :]

    def decode_prompt(self, ids: Sequence[int]) -> str:
        """The text of a prompt, special tokens included, for people to read."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=False)  # type: ignore[return-value]

    def token_text(self, token: int) -> str:
        """How a token reads inside a text; special tokens as they are written, part of a character as a question mark."""
        before = self._raw("a")
        texts = [
            str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
            for ids in (before, [*before, token])
        ]
        return texts[1][len(texts[0]) :]

    def _encode(self, text: str, is_first: bool) -> list[int]:
        """Ids of a segment as it reads inside a text.

        Some tokenizers put a space before whatever they are given; inside a text that space would be wrong, so the
        segment is encoded after a line break, which is then cut off.
        """
        if not text or is_first or self.joins_cleanly:
            return self._raw(text)
        anchor, joined = self._raw(_ANCHOR), self._raw(_ANCHOR + text)
        return joined[len(anchor) :] if joined[: len(anchor)] == anchor else self._raw(text)

    def _raw(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False) if text else []

    def _render(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        """The tokenizer's own template as text; thinking, where a template knows it, is off."""
        try:
            text = self.tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                enable_thinking=False,
            )
        except Exception as error:  # jinja raises whatever a template's author chose
            raise DataError(
                f"The model's chat template refuses a conversation ({error}): correct the order of its roles, or "
                "choose the chat template chatml or plain."
            ) from error
        return str(text)

    def _own_segments(self, messages: Sequence[Message]) -> list[Segment]:
        """Cut the rendered prompt at its assistant turns, found by their content in order."""
        text = self._render(messages, add_generation_prompt=True)
        segments, start, cursor = [], 0, 0
        for message in messages:
            content = message["content"].strip()
            found = text.find(content, cursor)
            if found < 0 or not content:  # the template rewrote this turn: it is read, not learnt
                continue
            cursor = found + len(content)
            if message["role"] != "assistant" or not text.startswith(self.end_text, cursor):
                continue
            segments += [Segment(text[start:found], False), Segment(content, True)]
            start = cursor = cursor + len(self.end_text)
        return [*segments, Segment(text[start:], False)]

    def _built_in_segments(self, messages: Sequence[Message]) -> list[Segment]:
        header = "<|im_start|>{role}\n" if self.template == "chatml" else ""
        ends = self.end_text if self.template == "chatml" else ""
        segments: list[Segment] = []
        for message in messages:
            role, content = message["role"], message["content"]
            opening = header.format(role=role)
            if role == "assistant":
                segments += [Segment(opening, False), Segment(content, True), Segment("\n", False)]
            else:
                segments.append(Segment(f"{opening}{content}{ends}\n", False))
        return _join([*segments, Segment(header.format(role="assistant"), False)])

    def _check_own(self) -> None:
        """Refuse a template under which training and sampling would see different texts."""
        whole, prompt = self._render(_PROBE, False), self._render(_PROBE[:1], True)
        for message in _PROBE:
            if message["content"] not in whole:
                raise ConfigError(
                    f"The tokenizer's chat template leaves out or rewrites what the {message['role']} says, so it cannot be taught: "
                    "choose the chat template chatml or plain."
                )
        question, answer = (message["content"] for message in _PROBE)
        between = whole[whole.index(question) + len(question) : whole.rindex(answer)]
        opening = prompt[prompt.rindex(question) + len(question) :] if question in prompt else ""
        if _without_thinking(between) != _without_thinking(opening):
            raise ConfigError(
                f"The tokenizer's chat template puts {between.strip()!r} before an answer in a conversation, but "
                f"{opening.strip()!r} where an answer is asked for, so training and sampling would differ: choose the chat template "
                "chatml or plain, or mend add_generation_prompt in the template."
            )

    def _find_end(self, model_end_ids: Sequence[int]) -> tuple[int, str]:
        """The token that closes an assistant turn, and how the template writes it."""
        if self.template == "own":
            text = self._render(_PROBE, add_generation_prompt=False)
            after = text[text.rindex(_PROBE[1]["content"]) + len(_PROBE[1]["content"]) :]
            for token in {*self.tokenizer.all_special_ids, *model_end_ids}:
                written = str(self.tokenizer.convert_ids_to_tokens(token))
                if after.lstrip().startswith(written):
                    return token, after[: after.index(written) + len(written)]
        if self.template == "chatml" and "<|im_end|>" in self.tokenizer.get_vocab():
            return self.tokenizer.get_vocab()["<|im_end|>"], "<|im_end|>"
        if model_end_ids:
            return model_end_ids[0], ""
        if isinstance(self.tokenizer.eos_token_id, int):
            return self.tokenizer.eos_token_id, ""
        raise BaseModelError(
            "The model has no end token: neither its configuration nor its tokenizer names one, so responses could "
            "never end. Set eos_token_id in its config.json."
        )


def _resolve(tokenizer: "PreTrainedTokenizerBase", template: str) -> str:
    has_own = isinstance(tokenizer.chat_template, str) and bool(tokenizer.chat_template)
    if template == "auto":
        return "own" if has_own else "plain"
    if template not in ("own", "chatml", "plain"):
        raise ConfigError(f"There is no chat template called {template!r}: choose auto, chatml or plain.")
    if template == "own" and not has_own:
        raise ConfigError("The tokenizer carries no chat template of its own: choose chatml or plain.")
    return template


def _without_thinking(text: str) -> str:
    """A turn's opening without an empty or open thinking block, and without the space around it."""
    return re.sub(r"<think>.*?(</think>|$)", "", text, flags=re.DOTALL).strip()


def _join(segments: Sequence[Segment]) -> list[Segment]:
    """Merge neighbours that are not assistant turns; drop empty ones."""
    joined: list[Segment] = []
    for segment in segments:
        if not segment.is_assistant and not segment.text:
            continue
        if joined and not joined[-1].is_assistant and not segment.is_assistant:
            joined[-1] = Segment(joined[-1].text + segment.text, False)
        else:
            joined.append(segment)
    return joined


def _decode(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _leading_special_ids(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """What the tokenizer puts in front of every text, usually its bos token."""
    bare, dressed = tokenizer.encode("a", add_special_tokens=False), tokenizer.encode("a")
    starts = [i for i in range(len(dressed) - len(bare) + 1) if dressed[i : i + len(bare)] == bare]
    return dressed[: starts[0]] if starts else []
