"""The eye: a small vision transformer, and two layers that put its patches in the language model's terms.

Shapes and arithmetic follow llama.cpp's LLaVA graph, so the weights are exported as they are. It must not
know what a picture shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class EyeShape:
    """The network's dimensions; `pixels` is the width of what it sees, `told` the language model's width."""

    told: int
    pixels: int = 64
    patch: int = 8
    width: int = 128
    layers: int = 4
    heads: int = 4
    feed_forward: int = 320
    norm_epsilon: float = 1e-5

    @property
    def patches(self) -> int:
        """How many places of a conversation one picture takes."""
        return (self.pixels // self.patch) ** 2


class EyeBlock(nn.Module):
    """One layer: attention over all patches, then a feed-forward."""

    def __init__(self, shape: EyeShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.ln1 = nn.LayerNorm(shape.width, shape.norm_epsilon)
        self.attn_q = nn.Linear(shape.width, shape.width)
        self.attn_k = nn.Linear(shape.width, shape.width)
        self.attn_v = nn.Linear(shape.width, shape.width)
        self.attn_out = nn.Linear(shape.width, shape.width)
        self.ln2 = nn.LayerNorm(shape.width, shape.norm_epsilon)
        self.ffn_up = nn.Linear(shape.width, shape.feed_forward)
        self.ffn_down = nn.Linear(shape.feed_forward, shape.width)

    def forward(self, stream: Tensor) -> Tensor:
        """[pictures, patches, width] to the same shape."""
        normed = self.ln1(stream)

        def split(states: Tensor) -> Tensor:
            return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        query, key, value = split(self.attn_q(normed)), split(self.attn_k(normed)), split(self.attn_v(normed))
        mixed = functional.scaled_dot_product_attention(query, key, value)
        stream = stream + self.attn_out(mixed.transpose(1, 2).flatten(-2))
        return stream + self.ffn_down(functional.gelu(self.ffn_up(self.ln2(stream)), approximate="tanh"))


class Eye(nn.Module):
    """Pictures [pictures, 3, pixels, pixels] between -1 and 1 to [pictures, patches, told]."""

    def __init__(self, shape: EyeShape) -> None:
        super().__init__()
        self.shape = shape
        self.patch_embd = nn.Conv2d(3, shape.width, shape.patch, shape.patch, bias=False)
        self.position_embd = nn.Parameter(torch.randn(shape.patches, shape.width) * 0.02)
        self.blk = nn.ModuleList(EyeBlock(shape) for _ in range(shape.layers))
        self.told = nn.Sequential(
            nn.Linear(shape.width, shape.told), nn.GELU(approximate="tanh"), nn.Linear(shape.told, shape.told)
        )

    def layers(self, pictures: Tensor) -> list[Tensor]:
        """[pictures, patches, width] after each layer: what is known of each part of a picture."""
        stream = self.patch_embd(pictures).flatten(2).transpose(1, 2) + self.position_embd
        known = []
        for block in self.blk:
            stream = block(stream)
            known.append(stream)
        return known

    def forward(self, pictures: Tensor) -> Tensor:
        """What stands in a conversation for each picture."""
        return self.told(self.layers(pictures)[-1])
