"""Turns a conversation into token ids and marks those that the model is taught; no torch.

The one idea: a text is tokenised in segments, one per assistant turn and one per stretch between them. Training and
sampling use the same segments, so the prompt that a model answers has the very ids it was trained on.

Three templates: the tokenizer's own (`modules.data.templates`), ``chatml``, and ``plain`` (each turn on a line of its own; an
assistant turn ends with the end token), for models without a chat format. Thinking, where a template knows
it, is off: an answer stands behind an empty thinking block, unless it brings one.
"""

import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from modules.data.templates import thoughts
from modules.data.templates.controls import Controls, spell
from modules.data.templates.own import PROBE, Message, OwnTemplate, source_of
from modules.errors import BaseModelError, ConfigError, RowError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ANCHOR = "\n"
_MARKER = re.compile(r"<[^\s<>]+>")


class Encoded(NamedTuple):
    """A conversation as ids."""

    ids: list[int]
    """Token ids, length T."""
    mask: list[bool]
    """True on the tokens of assistant turns, end tokens included; length T."""
    num_unlearnt: int = 0
    """Assistant turns that are only read, since the template writes them differently than it would ask for them."""


class Answered(NamedTuple):
    """A response and what stands before it, as ids."""

    prompt: Encoded
    opening: list[int]
    """The thinking block that the template puts before the response; never taught."""
    response: list[int]


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
            tokenizer's: some models were trained with an end token missing from their tokenizer.

    Raises:
        ConfigError: There is no such template, or the tokenizer's own would not teach what it samples.
        BaseModelError: The model has no end token, or its template cannot be run.
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", template: str = "auto", model_end_ids: Sequence[int] = ()
    ) -> None:
        self.tokenizer = tokenizer
        self.template = _resolve(tokenizer, template)
        self._ahead: dict[str, list[int]] = {}
        """Ids of texts, see `read_ahead`."""
        self.joins_cleanly = _decode(tokenizer, self._raw("a") + self._raw("a")) == "aa"
        self.bos_ids = _leading_special_ids(tokenizer)
        self.own = OwnTemplate(tokenizer) if self.template == "own" else None
        self.end_id, self.end_text = self._find_end(model_end_ids)
        known = [tokenizer.eos_token_id] if isinstance(tokenizer.eos_token_id, int) else []
        self.stop_ids: frozenset[int] = frozenset([self.end_id, *model_end_ids, *known])
        """Any of these ends a response while sampling; only `end_id` is trained on."""
        pad = tokenizer.pad_token_id
        self.pad_id: int = pad if isinstance(pad, int) else self.end_id
        """Pads rows. It may equal an end token: masks are never derived from it."""
        self.controls = Controls(self._control_tokens())
        """Tokens that only the template may write; typed in a text, they are ordinary text."""
        self._control_ids = self._ids_of(self.controls.tokens)
        # The answers of a ranking come one after the other, all to the same turns.
        self._recent_turns = lru_cache(maxsize=16)(self._encode_items)

    def encode_conversation(self, messages: Sequence[Message]) -> Encoded:
        """Encode a conversation that ends with an assistant turn.

        Raises:
            RowError: The last turn is not an assistant's, or the template refuses the conversation.
        """
        if not messages or messages[-1]["role"] != "assistant":
            raise RowError(
                "A demonstration ends with a turn of another role than assistant, so there is no response to learn "
                "from: add the assistant's turn or leave the conversation out.",
                "without an assistant's turn at the end",
            )
        prompt, opening, response = self.encode_answer(messages[:-1], messages[-1]["content"])
        ids = [*prompt.ids, *opening, *response]
        mask = [*prompt.mask, *[False] * len(opening), *[True] * len(response)]
        return Encoded(ids, mask, prompt.num_unlearnt)

    def encode_prompt(self, messages: Sequence[Message]) -> Encoded:
        """Encode turns up to the point where the assistant is to speak; earlier assistant turns are True in the mask.

        Raises:
            RowError: The template refuses the conversation, or nothing is in it.
        """
        prompt, block = self._encode_turns(messages)
        opening = self._encode(block, False)
        return Encoded(prompt.ids + opening, prompt.mask + [False] * len(opening), prompt.num_unlearnt)

    def encode_answer(self, messages: Sequence[Message], text: str, end_reason: str | None = None) -> Answered:
        """Encode turns and a response to them.

        Args:
            messages: The turns before the response.
            text: The response.
            end_reason: How it ended (``eos`` or ``length``) if it was sampled, and so follows unchanged
                `encode_prompt`; None for one that somebody wrote. That is written as the template would, replacing
                the template's empty thinking block if it brings one.

        Raises:
            RowError: The template refuses the conversation, or nothing is in it.
        """
        is_own_thought = end_reason is None and self.brings_thought(text)
        prompt, block = self._encode_turns(messages, thinks=is_own_thought)
        if is_own_thought:
            text = thoughts.behind(text, block)
        if self.own and end_reason is None:
            text = self.own.as_written(text)
        return Answered(prompt, self._encode(block, False), self.encode_response(text, end_reason))

    def encode_response(self, text: str, end_reason: str | None = None) -> list[int]:
        """Return the ids of an assistant turn, with the end token unless it was cut off at the length limit."""
        ids = self._encode(self.controls.mark(text), False)
        return ids if end_reason == "length" and ids else [*ids, self.end_id]

    def encode_text(self, text: str) -> list[int]:
        """Return the ids of a text outside any conversation, begun as the tokenizer begins texts."""
        return [*self.bos_ids, *self._encode(self.controls.mark(text), True)]

    def read_ahead(self, texts: Collection[str]) -> None:
        """Encode answers together, in several threads, which are then only looked up; what was read ahead before is forgotten.

        One that the template rewrites, or that holds a typed control token, is encoded when it is asked for.
        """
        as_written = {self.own.as_written(text) for text in texts} if self.own else set(texts)
        pieces = sorted(text if self.joins_cleanly else _ANCHOR + text for text in {*as_written, *texts} if text)
        backend: Any = self.tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = False
        encodings = backend.encode_batch_fast(pieces, add_special_tokens=False)
        self._ahead = {piece: encoding.ids for piece, encoding in zip(pieces, encodings, strict=True)}

    def brings_thought(self, text: str) -> bool:
        """Return whether an answer brings a thinking block, where the template knows them."""
        return self.own is not None and self.own.knows_thinking and thoughts.brings(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of a response, without end and other special tokens, exactly as it would be encoded again."""
        kept = [token for token in ids if token not in self.stop_ids]
        if self.joins_cleanly:
            return _decode(self.tokenizer, kept)
        anchor = self._raw(_ANCHOR)
        return _decode(self.tokenizer, anchor + kept)[len(_decode(self.tokenizer, anchor)) :]

    def decode_prompt(self, ids: Sequence[int]) -> str:
        """Return the text of a prompt, special tokens included, for people to read."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=False)  # type: ignore[return-value]  # one text, as it is one row

    def token_text(self, token: int) -> str:
        """Return how a token reads inside a text; special tokens as written, part of a character as a question mark."""
        before = self._raw("a")
        texts = [
            str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
            for ids in (before, [*before, token])
        ]
        return texts[1][len(texts[0]) :]

    def remarks(self) -> list[str]:
        """Return what a person should know of how the template writes an answer, in sentences."""
        if not self.own:
            return []
        found = []
        closes = self.own.after.strip()
        if closes and not self.end_text:
            taught = self.tokenizer.convert_ids_to_tokens(self.end_id)
            found.append(
                f"The chat template closes an answer with {closes.splitlines()[0]}, which is not a token of the vocabulary; "
                f"{taught} is taught as its end."
            )
        if self.own.knows_thinking and thoughts.split(self.own.render(PROBE[:1], asks=True)).is_open:
            found.append(
                "The chat template opens a thinking block before each answer; it is closed at once, so that answers "
                "follow it."
            )
        if "strftime_now" in self.own.source:
            found.append("The chat template writes the time into each prompt, so what is read differs from day to day.")
        return found

    def _encode_turns(self, messages: Sequence[Message], *, thinks: bool = False) -> tuple[Encoded, str]:
        """Encode turns up to an answer, without the thinking block that the template writes; return that block too."""
        return self._recent_turns(tuple(tuple(message.items()) for message in messages), thinks)

    def _encode_items(self, turns: tuple[tuple[tuple[str, str], ...], ...], thinks: bool) -> tuple[Encoded, str]:
        messages = [dict(items) for items in turns]
        marked = [{**message, "content": self.controls.mark(message["content"])} for message in messages]
        if self.own:
            (segments, block), ids = self._own_segments(self.own, marked, thinks), []
        else:
            (segments, block), ids = (self._built_in_segments(marked), ""), list(self.bos_ids)
        mask = [False] * len(ids)
        for segment in segments:
            piece = self._encode(segment.text, not ids)
            piece += [self.end_id] if segment.is_assistant else []
            ids += piece
            mask += [segment.is_assistant] * len(piece)
        if not ids:
            raise RowError("A prompt has no tokens: give it some text, or leave it out.", "without any text")
        num_turns = sum(message["role"] == "assistant" for message in messages)
        return Encoded(ids, mask, num_turns - sum(segment.is_assistant for segment in segments)), block

    def _encode(self, text: str, is_first: bool) -> list[int]:
        """Return the ids of a segment as it reads inside a text, typed control tokens being marked.

        Some tokenizers put a space before whatever they are given; inside a text that space would be wrong, so the
        segment is encoded after a line break, which is then cut off.
        """
        num_pieces = 0

        def encode(piece: str, is_plain: bool = False) -> list[int]:
            nonlocal num_pieces
            num_pieces += 1
            if self.joins_cleanly or (is_first and num_pieces == 1):
                return self._raw(piece, is_plain)
            anchor, joined = self._raw(_ANCHOR), self._raw(_ANCHOR + piece, is_plain)
            return joined[len(anchor) :] if joined[: len(anchor)] == anchor else self._raw(piece, is_plain)

        def as_plain(token: str) -> list[int]:
            return spell(token, lambda piece: encode(piece, True), self._control_ids)

        return self.controls.encode(text, encode, as_plain) if text else []

    def _raw(self, text: str, is_plain: bool = False) -> list[int]:
        if not is_plain and (found := self._ahead.get(text)) is not None:
            return found
        options: dict[str, Any] = {"split_special_tokens": True} if is_plain else {}
        return self.tokenizer.encode(text, add_special_tokens=False, **options) if text else []

    def _own_segments(self, own: OwnTemplate, messages: Sequence[Message], thinks: bool) -> tuple[list[Segment], str]:
        """Return the rendered prompt, cut at assistant turns and before a thinking block at its end; and that block."""
        text = own.render(messages, asks=True, thinks=thinks)
        head, block, is_open = thoughts.split(text) if own.knows_thinking else (text, "", False)
        if thinks and not is_open:
            block = ""
        elif is_open and not thinks:
            block = thoughts.closed(block)
        segments, start = [], 0
        for place in own.places(messages, text, self.end_text, thinks=thinks):
            segments += [Segment(text[start : place.start], False), Segment(text[place.start : place.end], True)]
            start = place.end + len(self.end_text)
        return _join([*segments, Segment(head[start:], False)]), block

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

    def _control_tokens(self) -> set[str]:
        """Return special and end tokens, and added tokens that the template writes around turns, without thinking's."""
        if self.own:
            around = self.own.render(PROBE[:2]) + self.own.render(PROBE[:1], asks=True)
        else:
            around = "".join(segment.text for segment in self._built_in_segments(PROBE))
        added = self.tokenizer.added_tokens_decoder.values()
        names = {
            token.content
            for token in added
            if token.special or (token.content in around and not token.content.strip().isalnum())
        }
        named = {*self.tokenizer.all_special_ids, *self.stop_ids}
        names |= {str(self.tokenizer.convert_ids_to_tokens(token)) for token in named}
        # A tokenizer without a pad of its own may have been given a sign such as "!" for it.
        return {name for name in names if len(name.strip()) > 1 and not thoughts.is_tag(name)}

    def _ids_of(self, tokens: frozenset[str]) -> frozenset[int]:
        """Return the ids of tokens, without the id of the unknown token."""
        ids: list[Any] = [self.tokenizer.convert_tokens_to_ids(token) for token in tokens]
        unknown: Any = self.tokenizer.unk_token_id
        return frozenset(token for token in ids if isinstance(token, int) and token != unknown)

    def _find_end(self, model_end_ids: Sequence[int]) -> tuple[int, str]:
        """Return the token that closes an assistant turn, and how the template writes it."""
        if self.own and (found := self._end_in(self.own.after, model_end_ids)):
            return found
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

    def _end_in(self, after: str, model_end_ids: Sequence[int]) -> tuple[int, str] | None:
        """Return the token that the template writes right behind an answer; the longest of several that fit."""
        named = {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder, *model_end_ids}
        written = {str(self.tokenizer.convert_ids_to_tokens(token)): token for token in named}
        marker = _MARKER.match(after.lstrip())
        if marker and marker[0] in self.tokenizer.get_vocab():
            written[marker[0]] = self.tokenizer.get_vocab()[marker[0]]
        found = [text for text in written if text.strip() and after.lstrip().startswith(text)]
        if not found:
            return None
        end = max(found, key=len)
        return written[end], after[: after.index(end) + len(end)]


def _resolve(tokenizer: "PreTrainedTokenizerBase", template: str) -> str:
    if template not in ("auto", "own", "chatml", "plain"):
        raise ConfigError(f"There is no chat template called {template!r}: choose auto, chatml or plain.")
    if template in ("chatml", "plain"):
        return template
    has_own = bool(source_of(tokenizer))
    if template == "own" and not has_own:
        raise ConfigError("The tokenizer has no chat template of its own: choose chatml or plain.")
    return "own" if has_own else "plain"


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
    """Return what the tokenizer puts in front of every text, usually its bos token."""
    bare, dressed = tokenizer.encode("a", add_special_tokens=False), tokenizer.encode("a")
    starts = [i for i in range(len(dressed) - len(bare) + 1) if dressed[i : i + len(bare)] == bare]
    return dressed[: starts[0]] if starts else []
