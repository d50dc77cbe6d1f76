"""Prompts that a model cannot be asked are left out of a sampling run, counted, and named; the others are answered."""

import types

import pytest

from modules.config import SampleConfig
from modules.errors import DataError, RowError
from studio.worker import sampling


class Chat:
    """Takes each word for a token, and refuses what begins with System, as many templates refuse a system turn."""

    def encode_prompt(self, messages):
        text = messages[-1]["content"]
        if text.startswith("System"):
            raise RowError(
                "The template refuses this row.", reason="refused by the chat template (no system turn here)"
            )
        return types.SimpleNamespace(ids=[1] * len(text.split()))


BACKBONE = types.SimpleNamespace(chat=Chat(), context_length=10)
CONFIG = SampleConfig(max_new_tokens=6)


def rows(*texts):
    return [{"messages": [{"role": "user", "content": text}]} for text in texts]


def test_a_prompt_that_the_template_refuses_is_left_out_and_does_not_end_the_run():
    kept, encoded, left_out = sampling._encode(rows("a b", "System c", "a b c d e f"), BACKBONE, CONFIG)
    assert [row["messages"][0]["content"] for row in kept] == ["a b"]
    assert encoded == [[1, 1]]
    assert left_out == {"refused by the chat template (no system turn here)": 1, "too long": 1}


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        pytest.param(("a b c d e", "a b c d e f"), r"All 2 prompts are too long.* Lower max_new_tokens", id="too long"),
        pytest.param(
            ("System a", "a b c d e"),
            r'no system turn here\), such as "System a".*Next step: .*correct the rows',
            id="refused",
        ),
    ],
)
def test_where_no_prompt_can_be_asked_the_reasons_an_example_and_a_next_step_are_told(texts, told):
    with pytest.raises(DataError, match=told):
        sampling._encode(rows(*texts), BACKBONE, CONFIG)
