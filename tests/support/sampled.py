"""A PPO run with a stored response whose tokens and log-probabilities are those of a real policy."""

import torch

from assets import STARTER
from modules.config import PPOConfig
from modules.data.sequences import pad_rows
from modules.model.backbone import Backbone
from modules.rl.experience import role_stats
from studio.models import checkpoints
from studio.preferences import prompts
from studio.runs import rollouts, runs
from studio.runs.rollouts import NewRollout, Rollout, Tokens
from studio.workspace import Workspace
from tests.support import stored

SHORT = "def short(prompts, responses):\n    return [-0.05 * len(response) for response in responses]\n"
TEXT = "The fox is in the wood."
TEMPERATURE = 0.8


def logprobs(ws: Workspace, name: str, ids: list[int], num_prompt: int) -> tuple[list[float], dict[int, str]]:
    """The log-probability of each token of a response by a checkpoint, and how its tokens read."""
    backbone = Backbone.load(str(STARTER / "model"), device="cpu", lora_rank=4)
    backbone.add_role("policy", source=stored.read(ws, checkpoints.get, name).folder / "policy")
    backbone.eval()
    rows = pad_rows([ids], [[at >= num_prompt for at in range(len(ids))]], backbone.chat.pad_id)
    with torch.no_grad(), backbone.role("policy"):
        found = role_stats(backbone, rows, TEMPERATURE).logprobs.tolist()
    return found, {token: backbone.chat.token_text(token) for token in ids[num_prompt:]}


def add(ws: Workspace, sampled_by: str = "sft-1@1", text: str = TEXT) -> Rollout:
    """Store a response to the workspace's first prompt, as sampled by a checkpoint."""
    (ws.rewards / "short.py").write_text(SHORT, encoding="utf-8")
    run = runs.create(
        ws, PPOConfig(rewards="function:short.py:short", sft_checkpoint=sampled_by, temperature=TEMPERATURE)
    )
    prompt = stored.read(ws, prompts.list_prompts)[0]
    chat = Backbone.load(str(STARTER / "model"), device="cpu", lora_rank=4).chat
    ids, response = chat.encode_prompt(prompt["messages"]).ids, chat.encode_response(text, "eos")
    numbers, texts = logprobs(ws, sampled_by, [*ids, *response], len(ids))
    others = [[0.1 * at for at in range(len(response))] for _ in range(3)]
    tokens = Tokens(ids, response, numbers, [number - 0.1 for number in numbers], *others)
    new = NewRollout(prompt["id"], text, -1.0, -1.0, {}, 0.1 * len(response), "eos", tokens)
    stored.written(ws, rollouts.add, run.id, 1, [new], keep=5, token_texts=texts)
    stored.written(ws, runs.move, run.id, "running")
    stored.written(ws, runs.move, run.id, "finished", "It finished.")
    return stored.read(ws, rollouts.find, run.id)[0]
