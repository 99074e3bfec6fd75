"""Mixing a fake with its own original: the label is how much of the picture is fake."""

from __future__ import annotations

import torch
from numpy.random import Generator


def mix_pairs(crops: torch.Tensor, target: torch.Tensor, a: float, rng: Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix each fake with the real beside it, as the challenge's third place (NTech-Lab) did on aligned pairs.

    Args:
        crops: (2N, S, S, 3) uint8, the N fakes first and the real of each in the same order.
        target: (2N,) 1 fake, 0 real.
        a: of Beta(a, a), from which the share of the fake is drawn. The second half gets the rest of each share, so
            half of all that is shown stays fake.
        rng: the same state gives the same shares.

    Returns:
        (2N, S, S, 3) float32 crops in 0..255, and (2N,) targets mixed in the same shares.
    """
    half = len(crops) // 2
    drawn = torch.from_numpy(rng.beta(a, a, half)).to(crops.device, torch.float32)
    share = torch.cat([torch.maximum(drawn, 1 - drawn), torch.minimum(drawn, 1 - drawn)])
    fakes, reals = crops[:half].repeat(2, 1, 1, 1).float(), crops[half:].repeat(2, 1, 1, 1).float()
    wide = share.view(-1, 1, 1, 1)
    return fakes * wide + reals * (1 - wide), target[:half].repeat(2) * share + target[half:].repeat(2) * (1 - share)
