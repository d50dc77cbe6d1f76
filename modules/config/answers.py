"""The configs of the stages that train nothing: sample and evaluate."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from modules.config import reward_terms
from modules.config.base import PositiveFloat, PositiveInt, StageConfig
from modules.config.reward_terms import RewardTerm


class SampleConfig(StageConfig):
    """Sample responses from checkpoints and put them up for rating as pairs."""

    checkpoint: str = ""
    """The policy that answers; leave empty for the newest policy, else the newest SFT checkpoint."""
    opponent: str = ""
    """A second checkpoint that answers too, with the same seeds, or base for the pretrained model of the first; empty compares two samples of one policy."""
    num_prompts: PositiveInt = 100
    """Prompts to answer, drawn by the seed."""
    responses_per_prompt: Annotated[int, Field(ge=2, le=9)] = 2
    """Answers to each prompt; all their pairs are put up for rating: 3 give 3 pairs, 4 give 6. With an opponent the two answer in turn, and only pairs between them are put up."""
    put_up: Literal["pairs", "rankings"] = "pairs"
    """Rate the answers to a prompt as pairs, each on a screen of its own, or as one ranking of all of them; a ranking of 2 is a pair."""
    split: Literal["train+validation", "train", "validation", "test"] = "train+validation"
    """Which prompts to draw from. Ratings of validation and test prompts are never trained on; they measure."""
    exclude_categories: str = ""
    """Prompt categories to leave out, separated by commas, one with a comma in quotes."""
    temperature: PositiveFloat = 1.0
    """Sampling temperature; higher is more varied, lower is safer."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Sample from the smallest set of tokens with this much probability; 1 uses all."""
    top_k: Annotated[int, Field(ge=0)] = 0
    """Sample from this many most likely tokens; 0 uses all."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 96
    """Longest response in tokens."""
    batch_size: PositiveInt = 64
    """Responses generated together."""

    @field_validator("checkpoint")
    @classmethod
    def _is_not_base(cls, name: str) -> str:
        if name == "base":
            raise ValueError("base answers next to one of its checkpoints: name that here, and base as opponent")
        return name


class EvaluateConfig(StageConfig):
    """Evaluation: measure checkpoints item by item on the same suites, so that any two of them can be compared."""

    checkpoints: str = ""
    """What is measured, separated by commas: checkpoints such as sft-1 and ppo-1@40, and base for the pretrained model. Leave empty for base and the newest checkpoints of SFT, DPO and PPO."""
    suites: str = ""
    """What they are measured on, separated by commas: built-in suites, files of the workspace's folder evaluations/ by name, or blimp:FILE, copa:FILE, hellaswag:FILE, truthfulqa:FILE, xstest:FILE, prompts:FILE. @chat or @plain behind one switches the chat template. Leave empty for the built-in ones."""
    limit: Annotated[int, Field(ge=0)] = 0
    """Measure at most this many items of each suite, drawn by the seed; 0 measures all."""
    base_model: str = ""
    """The pretrained model that base stands for; leave empty for that of the checkpoints."""
    reward_checkpoint: str = ""
    """The reward model that scores sampled answers; leave empty for the newest of the same base model, where there is one."""
    gold_checkpoint: str = ""
    """A second reward model that scores the same answers, best one trained on the other half of the votes: where reward_checkpoint's score rises and this one's falls, the first is being exploited. Leave empty for one from the other half (votes_half) with best_of, and else none."""
    best_of: Annotated[int, Field(ge=0, le=64)] = 0
    """Sample this many answers to each prompt, with top_p 1, and show what choosing the best of 1, 2, 3 and so on by the reward model gains, next to what PPO gains for its KL; suites and checkpoints are then those of that question where left empty. 0 is off."""
    toxicity: str = ""
    """A classifier of toxic texts, as classifier:FOLDER#LABEL with the label that means toxic; it needs two labels or more. Empty measures no toxicity."""
    samples_per_prompt: Annotated[int, Field(ge=0, le=100)] = 0
    """Answers sampled to each prompt; 0 takes 25 where toxicity is measured, as Gehman et al. did, and else 1. Expected maximum toxicity rises with it, so only equal numbers are compared."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 48
    """Longest sampled answer in tokens."""
    temperature: PositiveFloat = 1.0
    """Of sampled answers."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    """Sample from the smallest set of tokens with this much probability; 1 uses all."""
    batch_size: PositiveInt = 64
    """Answers sampled together; smaller needs less memory."""

    @field_validator("toxicity")
    @classmethod
    def _is_a_classifier(cls, text: str) -> str:
        terms = reward_terms.parse(text)
        if text.strip() and (len(terms) != 1 or terms[0].kind != "classifier" or terms[0].weight != 1):
            raise ValueError("write one classifier, as classifier:FOLDER#LABEL")
        return text

    @property
    def reward_terms(self) -> tuple[RewardTerm, ...]:
        """The toxicity classifier as a term of a reward is written; none where there is none."""
        return reward_terms.parse(self.toxicity)

    @property
    def num_samples(self) -> int:
        """Answers sampled to each prompt."""
        return self.samples_per_prompt or self.best_of or (25 if self.toxicity.strip() else 1)
