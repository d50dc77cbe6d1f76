"""A workspace with pairs, rankings and prompts to be labelled by others, its answers sampled from named checkpoints."""

from typing import Any

from studio.exchange.label_studio.project import COMPARISON, NOTE, RANK, STRENGTH
from studio.preferences import comparisons, prompts
from studio.preferences.prompts import NewPrompt
from studio.workspace import Workspace

CHECKPOINT = "sft-9@7"


def fill(ws: Workspace, pairs: int = 3, rankings: int = 0) -> None:
    """Pairs whose better answer says `good`, and rankings of three whose answers say their place."""
    with ws.write() as db:
        model = add_checkpoint(db)
        for number in range(pairs):
            prompt_id = prompts.add_prompt(db, NewPrompt(_messages(number), split="train"))
            texts = (f"good answer {number} – «é» 🐢", f"bad answer {number}\nof two lines")
            comparisons.add_comparison(db, prompt_id, [_sample(db, prompt_id, text, model) for text in texts])
        for number in range(rankings):
            prompt_id = prompts.add_prompt(
                db, NewPrompt([{"role": "user", "content": f"Rank {number}?"}], split="train")
            )
            texts = (f"1 best {number}", f"2 middle {number}", f"3 worst {number}")
            comparisons.add_comparison(db, prompt_id, [_sample(db, prompt_id, text, model) for text in texts])


def add_pair(ws: Workspace, question: str) -> None:
    """One more pair, whose answers came with a file."""
    with ws.write() as db:
        prompt_id = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": question}], split="train"))
        texts = ("good answer", "bad answer")
        comparisons.add_comparison(
            db, prompt_id, [prompts.add_response(db, prompt_id, text, "import") for text in texts]
        )


def add_checkpoint(db: Any) -> int:
    now = "2026-11-01T00:00:00.000+00:00"
    run = {"name": "sft-9", "stage": "sft", "state": "finished", "config": "{}", "revision": "", "created_at": now}
    run_id = db.table("runs").insert(run).last_pk
    row = {
        "run_id": run_id,
        "name": CHECKPOINT,
        "step": 7,
        "folder": "runs/sft-9/checkpoints/step-7",
        "base_model": "starter",
        "created_at": now,
    }
    columns = {column.name for column in db.table("checkpoints").columns}
    needed = {"base_fingerprint": "f", "metrics": "{}"}
    row |= {name: value for name, value in needed.items() if name in columns}
    return db.table("checkpoints").insert(row).last_pk


def pairwise(side: str) -> dict[str, Any]:
    """What the front end of Label Studio writes for a chosen side."""
    return {
        "value": {"selected": side}, "id": "Rg1", "from_name": COMPARISON, "to_name": COMPARISON, "type": "pairwise", "origin": "manual"
    }  # fmt: skip


def strength(choice: str) -> dict[str, Any]:
    """A choice next to the side."""
    return {"value": {"choices": [choice]}, "from_name": STRENGTH, "to_name": "prompt", "type": "choices"}


def note(text: str) -> dict[str, Any]:
    """A remark."""
    return {"value": {"text": [text]}, "from_name": NOTE, "to_name": "prompt", "type": "textarea"}


def ranked(ids: list[str]) -> dict[str, Any]:
    """An order, under the tag's name as the front end writes it."""
    return {"value": {"ranker": {RANK: ids}}, "from_name": RANK, "to_name": "answers", "type": "ranker"}


def good_side(data: dict[str, Any]) -> str:
    """The side on which the good answer is shown."""
    return "left" if data["answer1"].startswith("good") else "right"


def best_first(data: dict[str, Any]) -> list[str]:
    """The ids of the answers of a ranking in their true order."""
    return [item["id"] for item in sorted(data["items"], key=lambda item: item["body"])]


def _messages(number: int) -> list[dict[str, str]]:
    if number % 3 == 2:
        return [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"First {number}"},
            {"role": "assistant", "content": "Yes."},
            {"role": "user", "content": f"Second {number}"},
        ]
    return [{"role": "user", "content": f"Question {number}?"}]


def _sample(db: Any, prompt_id: int, text: str, checkpoint: int) -> int:
    return prompts.add_response(db, prompt_id, text, "sample", checkpoint_id=checkpoint, sampling={"temperature": 0.7})
