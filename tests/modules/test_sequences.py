"""Pieces of a batch: every row once, few pads, never more rows than asked for."""

import itertools

import pytest
import torch

from modules.data import sequences
from modules.data.sequences import PASS_TOKENS, by_length


def cost(lengths, pieces):
    return sum(max(lengths[i] for i in piece) * len(piece) + PASS_TOKENS for piece in pieces)


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_pieces_hold_each_row_once_longest_first_and_no_more_than_asked_for(size):
    lengths = torch.randint(1, 700, (37,), generator=torch.Generator().manual_seed(0))
    pieces = list(by_length(lengths, size))
    assert sorted(torch.cat(pieces).tolist()) == list(range(37))
    assert max(len(piece) for piece in pieces) <= size
    assert torch.cat([lengths[piece] for piece in pieces]).diff().max() <= 0


@pytest.mark.parametrize("seed", range(5))
def test_no_other_way_to_cut_is_cheaper(seed):
    lengths = torch.randint(1, 500, (9,), generator=torch.Generator().manual_seed(seed)).tolist()
    found = [piece.tolist() for piece in by_length(torch.tensor(lengths), 4)]
    order = sorted(range(9), key=lambda i: -lengths[i])
    ways = [cut(order, cuts) for cuts in itertools.product([True, False], repeat=8)]
    best = min(cost(lengths, way) for way in ways if max(map(len, way)) <= 4)
    assert cost(lengths, found) == best


def cut(order, cuts):
    pieces = [[order[0]]]
    for row, starts_anew in zip(order[1:], cuts, strict=True):
        if starts_anew:
            pieces.append([row])
        else:
            pieces[-1].append(row)
    return pieces


def test_rows_of_one_length_fill_their_pieces():
    assert [len(piece) for piece in by_length(torch.full((20,), 300), 8)] == [8, 8, 4]


def test_one_long_row_does_not_make_short_ones_wait():
    pieces = list(by_length(torch.tensor([40, 600, 41, 39, 42]), 16))
    assert [len(piece) for piece in pieces] == [1, 4]


def test_a_gpu_takes_larger_pieces_since_starting_one_costs_more(monkeypatch):
    lengths = torch.randint(50, 769, (32,), generator=torch.Generator().manual_seed(0))
    assert len(list(by_length(lengths, 32))) > 6
    monkeypatch.setattr(sequences, "PASS_TOKENS", sequences.GPU_PASS_TOKENS)  # as on a device other than the CPU
    pieces = list(by_length(lengths, 32))
    assert 1 <= len(pieces) <= 3
    assert sorted(torch.cat(pieces).tolist()) == list(range(32))
