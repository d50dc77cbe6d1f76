"""The phase in which something was raised is marked where it is done, whatever the functions are called."""

import pytest

from modules.runtime import phases
from modules.runtime.phases import Phase, during
from studio.worker import failures


def raised(*within, error=None):
    """An error that has passed through these phases, the first the innermost."""

    def fail():
        raise error or MemoryError("out of memory")

    for phase in within:
        fail = during(phase)(fail)
    with pytest.raises(type(error or MemoryError())) as caught:
        fail()
    return caught.value


@pytest.mark.parametrize(
    ("within", "named"),
    [
        ((), None),
        ((Phase.SAMPLING, Phase.STEPPING), Phase.SAMPLING),
        ((Phase.SAMPLING, Phase.EVALUATING), Phase.EVALUATING),
        ((Phase.SAVING, Phase.STEPPING), Phase.SAVING),
        ((Phase.SAVING, Phase.TAKING_UP), Phase.SAVING),
    ],
    ids=["nowhere", "rollout", "evaluation", "save", "copy"],
)
def test_the_phase_that_tells_most_is_named(within, named):
    error = raised(*within)
    assert phases.of(error) == named
    assert failures.explain(error).startswith(f"Out of memory while {named or 'working'}. ")


def test_two_errors_do_not_share_their_phases():
    first, second = raised(Phase.LOADING), raised(Phase.SCORING, error=OSError(28, "No space left on device"))
    assert (phases.of(first), phases.of(second)) == (Phase.LOADING, Phase.SCORING)
    assert failures.explain(second).endswith("It happened while scoring responses.")
