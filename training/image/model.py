"""The hand, a small U-Net that turns noise into a picture, and the reader that tells it what is asked for.

Both are exported to ONNX as they are; README.md has the contract. Neither knows how scenes are drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

# How many bytes of a prompt are read; what scenes are asked for in fits, and the rest of a longer one is cut.
PROMPT_BYTES = 128


@dataclass(frozen=True)
class HandShape:
    """The network's dimensions; `wishes` is the width of what the reader says."""

    wishes: int
    pixels: int = 64
    channels: tuple[int, int, int] = (48, 96, 160)
    told: int = 192


class Reader(nn.Module):
    """Bytes of prompts [prompts, PROMPT_BYTES] to wishes: belief in each value of each attribute."""

    def __init__(self, sizes: tuple[int, ...], width: int = 96) -> None:
        super().__init__()
        self.sizes = sizes
        self.letters = nn.Embedding(256, width)
        self.places = nn.Parameter(torch.randn(PROMPT_BYTES, width) * 0.02)
        self.near = nn.ModuleList(nn.Conv1d(width, width, 5, padding=2) for _ in range(3))
        self.query = nn.Parameter(torch.randn(len(sizes), width) * 0.1)
        self.mix = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.out = nn.ModuleList(nn.Linear(width, size) for size in sizes)

    def logits(self, prompts: Tensor) -> list[Tensor]:
        """What it believes of each attribute, before it is made a share."""
        stream = self.letters(prompts).transpose(1, 2)
        for near in self.near:
            stream = stream + functional.gelu(near(stream))
        stream = stream.transpose(1, 2) + self.places
        query = self.query.expand(prompts.shape[0], -1, -1)
        stream = torch.cat((query, stream), dim=1)
        for mix in self.mix:
            stream = mix(stream)
        return [out(stream[:, place]) for place, out in enumerate(self.out)]

    def forward(self, prompts: Tensor) -> Tensor:
        """[prompts, wishes]; each attribute's shares sum to one."""
        return torch.cat([each.softmax(-1) for each in self.logits(prompts)], dim=-1)


class HandBlock(nn.Module):
    """Two convolutions on normalised states, bent by what is wished and by how much noise is left."""

    def __init__(self, before: int, after: int, told: int) -> None:
        super().__init__()
        self.norm_in, self.conv_in = nn.GroupNorm(8, before), nn.Conv2d(before, after, 3, padding=1)
        self.norm_out, self.conv_out = nn.GroupNorm(8, after), nn.Conv2d(after, after, 3, padding=1)
        self.bend = nn.Linear(told, 2 * after)
        self.around = nn.Conv2d(before, after, 1) if before != after else nn.Identity()
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, states: Tensor, told: Tensor) -> Tensor:
        """The same height and width."""
        scale, shift = self.bend(told)[..., None, None].chunk(2, dim=1)
        inner = self.conv_in(functional.silu(self.norm_in(states)))
        inner = functional.silu(self.norm_out(inner) * (1 + scale) + shift)
        return self.around(states) + self.conv_out(inner)


class Glance(nn.Module):
    """Attention among all places, so that what is drawn here knows of there."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.sharpness, self.norm = heads, (channels / heads) ** -0.5, nn.GroupNorm(8, channels)
        self.inward, self.outward = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, states: Tensor) -> Tensor:
        """The same shape."""
        height, width = states.shape[2:]
        flat = self.norm(states).flatten(2).transpose(1, 2)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.inward(flat).chunk(3, dim=-1)
        )
        matched = (query @ key.transpose(-1, -2) * self.sharpness).softmax(-1)
        mixed = self.outward((matched @ value).transpose(1, 2).flatten(-2))
        return states + mixed.transpose(1, 2).unflatten(-1, (height, width))


class Hand(nn.Module):
    """The direction from noise to picture at a moment between 0 (noise) and 1 (picture)."""

    def __init__(self, shape: HandShape) -> None:
        super().__init__()
        self.shape = shape
        fine, middle, coarse = shape.channels
        told = shape.told
        self.register_buffer("pace", torch.exp(torch.linspace(0, math.log(200), 32)), persistent=False)
        self.told = nn.Sequential(
            nn.Linear(64 + shape.wishes, told), nn.SiLU(), nn.Linear(told, told), nn.SiLU()
        )
        # Three channels of the picture, four of the source; two by two pixels become one place.
        self.entry = nn.Conv2d(7 * 4, fine, 3, padding=1)
        self.fine_down = HandBlock(fine, fine, told)
        self.to_middle = nn.Conv2d(fine, middle, 3, stride=2, padding=1)
        self.middle_down = nn.ModuleList(HandBlock(middle, middle, told) for _ in range(2))
        self.to_coarse = nn.Conv2d(middle, coarse, 3, stride=2, padding=1)
        self.coarse_in, self.glance = HandBlock(coarse, coarse, told), Glance(coarse)
        self.coarse_out = HandBlock(coarse, coarse, told)
        self.from_coarse = nn.Conv2d(coarse, middle, 1)
        self.middle_up = nn.ModuleList((HandBlock(2 * middle, middle, told), HandBlock(middle, middle, told)))
        self.from_middle = nn.Conv2d(middle, fine, 1)
        self.fine_up = HandBlock(2 * fine, fine, told)
        self.exit_norm, self.exit = nn.GroupNorm(8, fine), nn.Conv2d(fine, 3 * 4, 3, padding=1)
        nn.init.zeros_(self.exit.weight)

    def forward(self, picture: Tensor, source: Tensor, moment: Tensor, wishes: Tensor) -> Tensor:
        """[n, 3, p, p], [n, 4, p, p], [n], [n, wishes] to [n, 3, p, p]."""
        angle = moment[:, None] * self.pace
        told = self.told(torch.cat((angle.sin(), angle.cos(), wishes), dim=-1))
        fine = self.entry(functional.pixel_unshuffle(torch.cat((picture, source), dim=1), 2))
        fine = self.fine_down(fine, told)
        middle = self.to_middle(fine)
        for block in self.middle_down:
            middle = block(middle, told)
        coarse = self.coarse_in(self.to_coarse(middle), told)
        coarse = self.coarse_out(self.glance(coarse), told)
        wider = functional.interpolate(self.from_coarse(coarse), scale_factor=2.0, mode="nearest")
        up = torch.cat((wider, middle), dim=1)
        for block in self.middle_up:
            up = block(up, told)
        wider = functional.interpolate(self.from_middle(up), scale_factor=2.0, mode="nearest")
        out = self.fine_up(torch.cat((wider, fine), dim=1), told)
        return functional.pixel_shuffle(self.exit(functional.silu(self.exit_norm(out))), 2)
