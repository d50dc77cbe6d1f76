"""The rollout store: nothing is rounded, everything is found, old ones make room, and the logged loss can be recomputed."""

import math
import random
import struct
import zlib

import lightning.pytorch as L
import numpy as np
import pytest
import torch

from assets import STARTER
from modules.config import PPOConfig, SFTConfig
from modules.data.datamodules import PPODataModule
from modules.data.sequences import pad_rows
from modules.losses import policy_losses, value_losses
from modules.model.backbone import Backbone
from modules.ppo import PPOModule
from modules.rl.experience import role_stats, role_values
from modules.rl.rewards import Texts, build_mix
from studio.cli import main
from studio.errors import RunError
from studio.models import checkpoints
from studio.preferences import prompts
from studio.runs import metrics, rollouts, runs
from studio.runs.rollouts import Filter, NewRollout, Tokens
from studio.worker.callbacks import SQLiteLogger, StudioCallback
from studio.workspace import Workspace
from tests.support import stored

SHORT = "def short(prompts, responses):\n    return [-0.05 * len(response) for response in responses]\n"
SMALLEST = struct.unpack("<f", b"\x01\x00\x00\x00")[0]


@pytest.fixture
def ws(tmp_path):
    workspace = Workspace.open(tmp_path / "studio")
    for number in range(6):
        stored.written(
            workspace,
            prompts.add_demonstration,
            [{"role": "user", "content": f"What is {number}?"}],
            f"It is {number}.",
        )
    run = runs.create(workspace, SFTConfig())
    folder = runs.folder(workspace, run.name) / "checkpoints" / "step-1"
    folder.mkdir(parents=True)
    stored.written(
        workspace, checkpoints.add, run.id, 1, folder, base_model="starter", base_fingerprint="f", metrics={}
    )
    (workspace.rewards / "short.py").write_text(SHORT)
    return workspace


def new_run(ws, **settings):
    run = runs.create(ws, PPOConfig(rewards="function:short.py:short", **settings))
    stored.written(ws, runs.move, run.id, "running")
    return run


def singles(values):
    """The nearest numbers of 32 bits."""
    return struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values))


def tokens(num_prompt=3, num_response=4, seed=0):
    rng = random.Random(seed)
    ids = [rng.randrange(200_000) for _ in range(num_prompt + num_response)]
    columns = [singles([rng.gauss(0, 3) for _ in range(num_response)]) for _ in range(5)]
    return Tokens(ids[:num_prompt], ids[num_prompt:], *columns)


def rollout(number=0, response="It is so.", score=0.0, kl=0.0, end_reason="eos", **facts):
    return NewRollout(
        1 + number % 6, response, score, score - 1, {"short": score}, kl, end_reason, tokens(seed=number), **facts
    )


# The packed value.


@pytest.mark.parametrize("sizes", [(1, 1), (3, 4), (200, 1), (1, 300)])
def test_packing_gives_back_every_bit(sizes):
    given = tokens(*sizes)
    found = rollouts.unpack(rollouts.pack(given))
    assert [list(column) for column in found] == [list(column) for column in given]
    extremes = singles([math.pi, -0.0, SMALLEST, 3.4e38])
    strange = given._replace(response_ids=[0, 1, 2**31 - 1, 5], **dict.fromkeys(Tokens._fields[2:], extremes))
    found = rollouts.unpack(rollouts.pack(strange))
    assert struct.pack("<4f", *found.returns) == struct.pack("<4f", *extremes)
    assert found.response_ids == (0, 1, 2**31 - 1, 5)


def test_the_layout_is_the_one_that_is_documented():
    """Read by numpy after the docstring, not by our own code."""
    given = tokens(3, 4)
    planes = np.frombuffer(zlib.decompress(rollouts.pack(given)), dtype=np.uint8)
    raw = planes.reshape(4, -1).T.tobytes()
    ints = np.frombuffer(raw[: 4 * 9], dtype="<i4").tolist()
    floats = np.frombuffer(raw[4 * 9 :], dtype="<f4").reshape(5, 4)
    assert ints == [3, 4, *given.prompt_ids, *given.response_ids]
    assert [tuple(row) for row in floats.tolist()] == list(given[2:])


# Finding.


def test_rollouts_are_found_by_text_iteration_score_kl_and_end(ws):
    run = new_run(ws)
    first = [rollout(n, f"It is number {n}.", score=float(n), kl=n / 10) for n in range(4)]
    second = [rollout(4, "Perhaps\n50% of “it”.", score=-1.0, kl=3.0, end_reason="length")]
    stored.written(ws, rollouts.add, run.id, 1, first, keep=5)
    stored.written(ws, rollouts.add, run.id, 2, second, keep=5)

    def found(**wanted):
        return [r.score for r in stored.read(ws, rollouts.find, run.id, Filter(**wanted), sort="score")]

    assert found() == [3.0, 2.0, 1.0, 0.0, -1.0]
    assert found(search="NUMBER 2") == [2.0]
    assert found(search="what is 3") == [3.0], "the prompt is searched too"
    assert found(search="user") == found(search="content") == [], "but not the names of roles and keys"
    assert found(search="50%") == found(search="\n50") == found(search="“it”") == [-1.0]
    assert found(search="' OR 1 = 1 --") == []
    assert found(search="%") == [-1.0]
    assert found(min_iteration=1, max_iteration=1, min_score=1.0, max_score=2.0) == [2.0, 1.0]
    assert found(min_kl=0.2, max_kl=0.3) == [3.0, 2.0]
    assert found(end_reason="length") == [-1.0]
    assert stored.read(ws, rollouts.count, run.id) == 5
    assert stored.read(ws, rollouts.count, run.id, Filter(min_iteration=1, max_iteration=1)) == 4
    assert stored.read(ws, rollouts.iterations, run.id) == [2, 1]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("newest", [4, 0, 1, 2, 3]),
        ("score", [3, 2, 1, 0, 4]),
        ("lowest score", [4, 0, 1, 2, 3]),
        ("kl", [0, 4, 3, 2, 1]),
    ],
)
def test_rollouts_are_sorted(ws, sort, expected):
    run = new_run(ws)
    kls = [3.0, 0.1, 0.2, 0.3, 1.0]
    stored.written(ws, rollouts.add, run.id, 1, [rollout(n, score=float(n), kl=kls[n]) for n in range(4)], keep=5)
    stored.written(ws, rollouts.add, run.id, 2, [rollout(4, score=-1.0, kl=kls[4])], keep=5)
    found = stored.read(ws, rollouts.find, run.id, sort=sort)
    assert [kls.index(r.kl) for r in found] == expected
    page = stored.read(ws, rollouts.find, run.id, sort=sort, limit=2, offset=1)
    assert [kls.index(r.kl) for r in page] == expected[1:3]


def test_a_rollout_has_its_prompt_components_tokens_and_the_checkpoint_that_sampled_it(ws):
    run = new_run(ws)
    folder = runs.folder(ws, run.name) / "checkpoints" / "step-1"
    folder.mkdir(parents=True)
    stored.written(ws, checkpoints.add, run.id, 1, folder, base_model="starter", base_fingerprint="f", metrics={})
    given = rollout(2, score=2.5)
    texts = {token: f"t{token}" for token in given.tokens.response_ids[:3]}
    for iteration in (1, 2, 3):
        stored.written(ws, rollouts.add, run.id, iteration, [given], keep=3, token_texts=texts)
    third, second, first = stored.read(ws, rollouts.find, run.id)
    assert second.messages == [{"role": "user", "content": "What is 2?"}]
    assert (second.shaped_score, second.components, second.num_tokens) == (1.5, {"short": 2.5}, 4)
    assert (first.checkpoint, second.checkpoint, third.checkpoint) == ("sft-1@1", f"{run.name}@1", None)
    table = stored.read(ws, rollouts.token_table, second)
    assert [token.text for token in table] == [*texts.values(), f"#{given.tokens.response_ids[3]}"]
    assert [token.advantage for token in table] == list(given.tokens.advantages)
    assert table[0].kl == given.tokens.logprobs[0] - given.tokens.ref_logprobs[0]
    assert stored.read(ws, rollouts.get, run, second.id) == second
    with pytest.raises(RunError, match=r"Run ppo-2 has no rollout 1\. It may have been dropped"):
        stored.read(ws, rollouts.get, new_run(ws), 1)


def test_old_iterations_make_room_and_other_runs_keep_theirs(ws):
    run, other = new_run(ws), new_run(ws)
    stored.written(ws, rollouts.add, other.id, 1, [rollout()], keep=2)
    for iteration in range(1, 6):
        stored.written(ws, rollouts.add, run.id, iteration, [rollout(n) for n in range(3)], keep=2)
    assert stored.read(ws, rollouts.iterations, run.id) == [5, 4]
    assert stored.read(ws, rollouts.count, run.id) == 6
    assert stored.read(ws, rollouts.iterations, other.id) == [1]


# Of all runs.


def test_the_rollouts_of_all_runs_are_searched_together_newest_run_first(ws):
    first, second = new_run(ws), new_run(ws)
    for iteration in (1, 2, 3):
        stored.written(ws, rollouts.add, first.id, iteration, [rollout(0, f"a{iteration}", score=iteration)], keep=5)
    stored.written(ws, rollouts.add, second.id, 2, [rollout(1, "b2", score=2.5, kl=1.0, end_reason="length")], keep=5)

    def found(sort="newest", **wanted):
        return [r.response for r in stored.read(ws, rollouts.find, None, Filter(**wanted), sort=sort)]

    assert found() == ["b2", "a3", "a2", "a1"]
    assert [r.run for r in stored.read(ws, rollouts.find, None)] == [second.name] + [first.name] * 3
    assert found("score") == ["a3", "b2", "a2", "a1"]
    assert found(min_iteration=2, max_iteration=3) == ["b2", "a3", "a2"]
    assert found(max_iteration=1) == ["a1"]
    assert found(min_score=2, max_score=2.9) == ["b2", "a2"]
    assert found(min_kl=0.5) == found(end_reason="length") == found(search="B2") == ["b2"]
    assert found(search="what is 0") == ["a3", "a2", "a1"], "the prompt is searched too"
    assert stored.read(ws, rollouts.count, None) == 4
    assert stored.read(ws, rollouts.count, None, at_most=2) == 3, "no further than one beyond"
    page = stored.read(ws, rollouts.find, None, sort="score", limit=2, offset=1)
    assert [r.response for r in page] == ["b2", "a2"]
    assert stored.read(ws, rollouts.get, None, page[0].id) == page[0]
    with pytest.raises(RunError, match=r"There is no rollout 99\. .* rlhf-studio runs rollouts$"):
        stored.read(ws, rollouts.get, None, 99)


def test_no_sort_reads_all_rollouts(ws):
    with ws.read() as db:
        for sort, order in rollouts._ORDERS.items():
            plan = db.query(f"EXPLAIN QUERY PLAN SELECT r.id {rollouts._FOUND} ORDER BY {order} LIMIT 50")
            steps = [row["detail"] for row in plan]
            assert "INDEX rollouts_" in steps[0], f"{sort}: {steps}"
            assert not any(step.endswith("FOR ORDER BY") for step in steps), f"{sort}: {steps}"


@pytest.mark.parametrize(("text", "ends"), [("", (None, None)), ("38", (38, 38)), (" 30 - 40 ", (30, 40))])
def test_iterations_are_one_or_a_range(text, ends):
    assert rollouts.span(text) == ends


@pytest.mark.parametrize("text", ["much", "-1", "3-", "1-2-3", "40-30", "1e3", "9" * 20])
def test_what_is_no_iteration_is_refused(text):
    with pytest.raises(RunError, match="iteration"):
        rollouts.span(text)


# With PPO.


def train(ws, **settings):
    """A PPO run in this process, as the worker builds it; returns the run and the module with its first weights kept."""
    common = {
        "lora_rank": 2,
        "batch_size": 6,
        "minibatch_size": 6,
        "epochs": 1,
        "max_new_tokens": 12,
        "value_warmup": 0,
    }
    run = new_run(ws, **common, **settings)
    config = run.config
    torch.manual_seed(0)
    backbone = Backbone.load(str(STARTER / "model"), device="cpu", lora_rank=2)
    backbone.add_role("reference")
    backbone.add_role("policy", copy_of="reference", trainable=True)
    backbone.add_role("value", copy_of="reference", trainable=True, head=True)
    for parameter in backbone.role_parameters("policy").values():
        parameter.data += 0.02 * torch.randn(parameter.shape)
    rows = runs.read_rows(ws, run.name, "train")
    data = PPODataModule(rows, rows[:1], backbone.chat, batch_size=6, iterations=config.iterations)
    sources = {row["file"]: row["source"] for row in runs.read_rows(ws, run.name, "rewards")}
    mix = build_mix(config.reward_terms, backbone, Texts(backbone.chat, data.row_of), sources, 6)
    module = PPOModule.from_config(config, backbone, mix)
    first = {
        role: {k: v.detach().clone() for k, v in backbone.role_parameters(role).items()} for role in ("policy", "value")
    }
    callback = StudioCallback(ws, run, total=config.iterations, save_every=1000, eval_every=0, unit="iteration")
    options = {"logger": SQLiteLogger(ws, run), "callbacks": [callback], "log_every_n_steps": 1, "max_epochs": 1}
    quiet = dict.fromkeys(
        ("enable_checkpointing", "enable_progress_bar", "enable_model_summary", "inference_mode"), False
    )
    intervals = {"val_check_interval": 1000, "check_val_every_n_epoch": None, "num_sanity_val_steps": 0}
    L.Trainer(accelerator="cpu", devices=1, **options, **quiet, **intervals).fit(module, datamodule=data)
    return run, module, first


def test_item_37_stored_rollouts_reproduce_the_logged_loss(ws):
    """From ids and numbers as they are in the database, by the weights that the iteration started from."""
    run, module, first = train(ws, iterations=1, whiten_advantages=False, temperature=0.8)
    kept = stored.read(ws, rollouts.find, run.id, limit=100)
    per_token = [stored.read(ws, rollouts.tokens_of, found.id) for found in kept]
    assert len({len(row.response_ids) for row in per_token}) > 1, "responses of uneven length"
    backbone = module.backbone
    for role, tensors in first.items():
        for name, parameter in backbone.role_parameters(role).items():
            parameter.data.copy_(tensors[name])
    sequences = pad_rows(
        [[*row.prompt_ids, *row.response_ids] for row in per_token],
        [[False] * len(row.prompt_ids) + [True] * len(row.response_ids) for row in per_token],
        backbone.chat.pad_id,
    )

    def column(name):
        return torch.tensor([number for row in per_token for number in getattr(row, name)])

    with torch.no_grad():
        with backbone.role("policy"):
            logprobs = role_stats(backbone, sequences, 0.8).logprobs
        with backbone.role("reference"):
            ref_logprobs = role_stats(backbone, sequences, 0.8).logprobs
        with backbone.role("value"):
            values = role_values(backbone, sequences)
    assert torch.allclose(logprobs, column("logprobs"), atol=1e-5)
    assert torch.allclose(ref_logprobs, column("ref_logprobs"), atol=1e-5)
    logged = stored.read(ws, metrics.latest, run.id)
    policy = policy_losses(logprobs, column("logprobs"), column("advantages"), module.surrogate.clip_range).mean()
    value = value_losses(values, column("values"), column("returns"), module.surrogate.value_clip_range).mean()
    assert abs(logged["policy/loss"]) > 0.01
    assert policy.item() == pytest.approx(logged["policy/loss"], abs=1e-5)
    assert value.item() == pytest.approx(logged["value/loss"], abs=1e-5)
    assert sum(found.kl for found in kept) / 6 == pytest.approx(logged["objective/kl"], abs=1e-5)
    assert sum(found.score for found in kept) / 6 == pytest.approx(logged["objective/score"], abs=1e-5)
    assert sum(found.components["short"] for found in kept) / 6 == pytest.approx(logged["reward/short"], abs=1e-5)


def test_what_is_stored_is_what_ppo_learnt_from_bit_for_bit(ws):
    run, module, _ = train(ws, iterations=3, keep_rollouts=2)
    assert stored.read(ws, rollouts.iterations, run.id) == [3, 2]
    assert module.latest is not None
    sampled, experience = module.latest[0].rollout, module.latest[1]
    found = stored.read(ws, rollouts.find, run.id, Filter(min_iteration=3, max_iteration=3))
    chat = module.backbone.chat
    for row, rollout in enumerate(found):
        numbers = stored.read(ws, rollouts.tokens_of, rollout.id)
        length = len(sampled.responses[row])
        assert list(numbers.prompt_ids) == sampled.prompts[row]
        assert list(numbers.response_ids) == sampled.responses[row]
        for name in ("logprobs", "ref_logprobs", "values", "advantages", "returns"):
            assert list(getattr(numbers, name)) == getattr(experience, name)[row, :length].tolist()
        assert rollout.response == chat.decode(sampled.responses[row])
        assert chat.encode_prompt(rollout.messages).ids == sampled.prompts[row]
        assert rollout.end_reason == sampled.end_reasons[row]
        table = stored.read(ws, rollouts.token_table, rollout)
        assert "".join(token.text for token in table).startswith(rollout.response)
        assert [token.reward for token in table] == pytest.approx(experience.rewards[row, :length].tolist(), abs=1e-5)
        assert table[0].ratio == pytest.approx(math.exp(numbers.logprobs[0] - numbers.ref_logprobs[0]))


def test_with_keep_rollouts_0_nothing_is_stored(ws, capsys):
    run, _, _ = train(ws, iterations=1, keep_rollouts=0)
    assert stored.read(ws, rollouts.count, run.id) == 0
    assert main(["runs", "rollouts", run.name, "--workspace", str(ws.root)]) == 0
    assert capsys.readouterr().out.startswith(f"No rollouts of {run.name} are stored: PPO stores those of its newest")


# At the terminal.


def test_the_terminal_lists_filters_and_shows_tokens_and_is_not_commanded(ws, capsys):
    run = new_run(ws)
    hostile = rollout(0, "red\x1b[31m", score=1.5, kl=0.25)
    texts = dict(zip(hostile.tokens.response_ids, ("\x1b[2J", " so", "</s>", "x"), strict=True))
    stored.written(
        ws, rollouts.add, run.id, 1, [hostile, rollout(1, score=-2.0, end_reason="length")], keep=5, token_texts=texts
    )
    place = ["--workspace", str(ws.root)]
    assert main(["runs", "rollouts", run.name, "--min-score", "0", "--end", "eos", "--max-kl", "1", *place]) == 0
    out = capsys.readouterr().out
    assert "score 1.5" in out
    assert "What is 0? -> red\ufffd[31m" in out
    assert "1 of 1 rollouts that fit; 2 are stored." in out
    assert "\x1b" not in out
    assert main(["runs", "rollouts", run.name, "--tokens", "1", *place]) == 0
    out = capsys.readouterr().out
    assert "sampled by sft-1@1" in out
    assert "components: short 1.5" in out
    assert "\x1b" not in out
    assert f"{hostile.tokens.logprobs[1]:.4f}" in next(line for line in out.splitlines() if "' so'" in line)
    assert main(["runs", "rollouts", run.name, "--min-kl", "5", "--max-kl", "1", *place]) == 1
    assert "No kl is at least 5 and at most 1. Swap --min-kl and --max-kl." in capsys.readouterr().err
    assert main(["runs", "rollouts", run.name, "--tokens", "99", *place]) == 1
    assert "has no rollout 99" in capsys.readouterr().err
    assert main(["runs", "rollouts", "--iteration", "1-2", "--skip", "1", *place]) == 0
    out = capsys.readouterr().out
    assert f"{run.name:<8} iteration 1 " in out
    assert "1 of 2 rollouts that fit; 2 are stored." in out
    assert main(["runs", "rollouts", "--iteration", "much", *place]) == 1
    assert "'much' is not an iteration: give a number such as 38, or a range such as 30-40." in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["runs", "rollouts", run.name, "--min-score", "nan", *place])
