"""Does it pay to choose which pair is rated next? Labels of real pairs are revealed block by block, chosen in different ways.

    python -m tests.benchmarks.active_choice [../shared/data/prefs] [--sets polite hh_helpful_base ...] [--labels 400] [--seeds 24]

A pair is a vector: the difference of its answers in words and pairs of words (hashed, weighted by rarity, 100 leading directions of the
unlabelled pairs) and in length. A logistic regression learns from the labels so far, and six of them, each from its own draw of these
labels, are the ensemble. A language model would see more in a text; training one after each block of each seed would take weeks. The
labels are those of the data (NAME+scripted: of a rater who judges by exactly these features, and errs), and chosen by `studio.annotation.pair_selection.draw`, as sessions choose. Every way starts with one block
drawn at random.

Prints for each way its accuracy on the data's test pairs, and how many labels random choice needs for each label of this way to reach
the same accuracy: that of random choice with half of the labels. Above 1 it saves labels. The interval comes from drawing seeds and
test pairs again; where it covers 1, nothing is shown. Random choice with other seeds shows what chance alone does.
"""

import argparse
import json
import random
import re
import zlib
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from studio.annotation.pair_selection import PairQuery, draw
from studio.insights.saving import rising

Numbers = NDArray[np.float64]
BUCKETS, DIRECTIONS, MEMBERS, BLOCK, RIDGE, RESAMPLES = 4096, 100, 6, 16, 10.0, 1000
SCRIPTED = "+scripted"
WAYS = {
    "random": 1.0,
    "random, again": 1.0,
    "disagreement": 0.0,
    "disagreement, 30 % random": 0.3,
    "margin near zero": 0.0,
    "expected information": 0.0,
    "diversity of prompts": 0.0,
}
"""Way to the share that is drawn at random."""


class Pairs(NamedTuple):
    """N pairs, of which the first answer was preferred where `labels` is 1."""

    features: Numbers
    """(N, D) of the first answer minus the second."""
    prompts: Numbers
    """(N, D) of the prompt, of length 1."""
    labels: Numbers
    """(N,) 1 or 0."""


def read(folder: Path, name: str) -> tuple[Pairs, Pairs]:
    """Return the pool and the test pairs of a data set; the directions are those of the pool."""
    if name.endswith(SCRIPTED):
        pool, test = read(folder, name.removesuffix(SCRIPTED))
        rng = np.random.default_rng(1)
        taste = rng.standard_normal(pool.features.shape[1])
        taste *= 3 / (pool.features @ taste).std()
        chances = [1 / (1 + np.exp(-each.features @ taste)) for each in (pool, test)]
        first, second = ((rng.random(len(chance)) < chance).astype(float) for chance in chances)
        return pool._replace(labels=first), test._replace(labels=second)
    parts = []
    for split in ("train", "test"):
        lines = (folder / f"{name}.{split}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        texts = [(row["prompt"][-1]["content"], row["chosen"], row["rejected"]) for row in rows]
        parts.append([np.array([_counts(text) for text in column]) for column in zip(*texts, strict=True)])
    rarity = np.log(len(parts[0][1]) / (1 + (parts[0][1] > 0).sum(axis=0)))
    pool, test = ([_scaled(column * rarity) for column in part] for part in parts)
    lengths = [[np.log1p(column.sum(axis=1)) for column in part] for part in parts]
    directions = np.linalg.svd(pool[1] - pool[2], full_matrices=False)[2][:DIRECTIONS].T
    of_prompts = np.linalg.svd(pool[0], full_matrices=False)[2][:DIRECTIONS].T
    rng = np.random.default_rng(0)
    found = []
    for (prompt, chosen, rejected), (_, longer, shorter) in zip((pool, test), lengths, strict=True):
        sides = np.where(rng.random(len(prompt)) < 0.5, 1.0, -1.0)
        features = np.column_stack([(chosen - rejected) @ directions * 10, longer - shorter]) * sides[:, None]
        found.append(Pairs(features, _scaled(prompt @ of_prompts), (sides > 0).astype(float)))
    return found[0], found[1]


def run(pool: Pairs, test: Pairs, way: str, num_labels: int, seed: int) -> NDArray[np.bool_]:
    """Reveal labels until there are so many; return (blocks, T) where the regression after each block is right on the test pairs."""
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    labelled: list[int] = []
    query, hits = PairQuery(random_share=WAYS[way]), []
    scores: Numbers | None = None
    while len(labelled) < num_labels:
        left = [n for n in range(len(pool.labels)) if n not in set(labelled)]
        rows = [
            {"id": n, "prompt_id": n, "score_kind": way, "score": None if scores is None else scores[n]} for n in left
        ]
        labelled += [chosen.comparison_id for chosen in draw(rows, query, BLOCK, rng)]
        features, labels = pool.features[labelled], pool.labels[labelled]
        hits.append((test.features @ _fit(features, labels, np.ones(len(labels))) > 0) == (test.labels > 0.5))
        if WAYS[way] < 1:
            draws = numbers.poisson(1.0, (MEMBERS, len(labels)))
            members = np.array([_fit(features, labels, weights) for weights in draws])
            scores = _scores(way, pool, labelled, pool.features @ members.T)
    return np.array(hits)


def ratio(random_hits: NDArray[np.bool_], hits: NDArray[np.bool_], seed: int = 0) -> tuple[float, float, float]:
    """Return how many labels random choice needs for one of this way, with its 95 % interval; both (seeds, blocks, T)."""
    num_seeds, _, num_test = hits.shape
    rng = np.random.default_rng(seed)
    seeds = [np.ones(num_seeds), *rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), RESAMPLES)]
    tests = [np.ones(num_test), *rng.multinomial(num_test, np.full(num_test, 1 / num_test), RESAMPLES)]
    found = []
    for of_seeds, of_tests in zip(seeds, tests, strict=True):
        base, other = (
            rising(np.einsum("sbt,s,t->b", each, of_seeds, of_tests, optimize=True) / num_seeds / num_test)
            for each in (random_hits.astype(np.float32), hits.astype(np.float32))
        )
        wanted = base[len(base) // 2 - 1]
        found.append(_reached(base, wanted) / _reached(other, wanted))
    low, high = np.quantile(found[1:], (0.025, 0.975))
    return float(found[0]), float(low), float(high)


def _reached(accuracy: Numbers, wanted: float) -> float:
    """Return with how many labels a rising accuracy reaches the one wanted, between blocks along a line; all where it never does."""
    if accuracy[-1] < wanted:
        return float(BLOCK * len(accuracy))
    after = int(np.argmax(accuracy >= wanted))
    if after == 0:
        return float(BLOCK)
    part = (wanted - accuracy[after - 1]) / (accuracy[after] - accuracy[after - 1])
    return float(BLOCK * (after + part))


def _scores(way: str, pool: Pairs, labelled: list[int], margins: Numbers) -> Numbers:
    """Return how much each pair is worth rating next; `margins` (N, M) are those of the ensemble."""
    if way.startswith("disagreement"):
        return margins.std(axis=1)
    if way == "margin near zero":
        return -np.abs(margins.mean(axis=1))
    if way == "expected information":
        chances = 1 / (1 + np.exp(-margins))
        return _entropy(chances.mean(axis=1)) - _entropy(chances).mean(axis=1)
    return -(pool.prompts @ pool.prompts[labelled].T).max(axis=1)


def _entropy(chance: Numbers) -> Numbers:
    inside = np.clip(chance, 1e-12, 1 - 1e-12)
    return -inside * np.log(inside) - (1 - inside) * np.log(1 - inside)


def _fit(features: Numbers, labels: Numbers, weights: Numbers) -> Numbers:
    """Return the coefficients of a logistic regression without offset, pulled towards 0, by Newton's steps."""
    found = np.zeros(features.shape[1])
    for _ in range(12):
        chance = 1 / (1 + np.exp(-np.clip(features @ found, -30, 30)))
        slope = features.T @ (weights * (chance - labels)) + RIDGE * found
        bend = (features * (weights * chance * (1 - chance))[:, None]).T @ features + RIDGE * np.eye(len(found))
        step = np.linalg.solve(bend, slope)
        found -= step
        if np.abs(step).max() < 1e-4:
            break
    return found


def _counts(text: str) -> Numbers:
    """Return how often each hashed word and pair of words is in a text."""
    words = re.findall(r"[\w']+|[^\w\s]", text.lower())
    found = np.zeros(BUCKETS)
    for piece in [*words, *(f"{one} {other}" for one, other in pairwise(words))]:
        found[zlib.crc32(piece.encode()) % BUCKETS] += 1
    return found


def _scaled(rows: Numbers) -> Numbers:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def main() -> None:
    """Reveal, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data/prefs"))
    parser.add_argument("--sets", nargs="+", default=["polite", "hh_helpful_base", f"hh_helpful_base{SCRIPTED}"])
    parser.add_argument("--labels", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=24)
    asked = parser.parse_args()
    for name in asked.sets:
        pool, test = read(asked.data, name)
        print(f"\n{name}: {len(pool.labels):,} pairs, {len(test.labels):,} test pairs, {asked.seeds} seeds", flush=True)
        print(
            "| way | accuracy with a sixth, half and all labels | labels of random choice for one label |\n|---|---|---|"
        )
        whole = {}
        for way in WAYS:
            first = asked.seeds if way == "random, again" else 0
            whole[way] = np.array([run(pool, test, way, asked.labels, first + n) for n in range(asked.seeds)])
            curve = whole[way].mean(axis=(0, 2))
            at = [curve[round(len(curve) * part) - 1] for part in (1 / 6, 1 / 2, 1)]
            value, low, high = ratio(whole["random"], whole[way])
            shown = "1" if way == "random" else f"{value:.2f} ({low:.2f} to {high:.2f})"
            print(f"| {way} | {', '.join(f'{each:.3f}' for each in at)} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
