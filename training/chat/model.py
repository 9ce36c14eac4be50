"""The starter's network: a small Llama (RMSNorm, rotary positions in interleaved pairs, SwiGLU).

Shapes and arithmetic follow llama.cpp's `llama` architecture, so the weights are exported as they are.
It must not know what the tokens mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

# A byte that UTF-8 never uses: what an eye says stands in its place.
SEEN = 0xFF


@dataclass(frozen=True)
class Shape:
    """The network's dimensions; `context` is in tokens."""

    vocabulary: int
    width: int = 192
    layers: int = 5
    heads: int = 4
    key_value_heads: int = 4
    feed_forward: int = 512
    context: int = 2048
    # High, so that half of the pairs hardly turn within the context: content can be compared at any distance.
    rope_base: float = 1_000_000.0
    norm_epsilon: float = 1e-5

    @property
    def head_width(self) -> int:
        """The width of one attention head."""
        return self.width // self.heads


def rotation(shape: Shape, length: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [length, head_width / 2] of the rotary position encoding."""
    frequency = shape.rope_base ** (-torch.arange(0, shape.head_width, 2).float() / shape.head_width)
    angle = torch.arange(length).float()[:, None] * frequency[None, :]
    return angle.cos(), angle.sin()


def rotate(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn neighbouring pairs of the last axis; states are [batch, heads, length, head_width]."""
    even, odd = states[..., 0::2], states[..., 1::2]
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1).flatten(-2)


class Block(nn.Module):
    """One layer: attention, then a gated feed-forward, each on a normalised copy of the stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        key_width = shape.key_value_heads * shape.head_width
        self.attn_norm = nn.RMSNorm(shape.width, shape.norm_epsilon)
        self.attn_q = nn.Linear(shape.width, shape.width, bias=False)
        self.attn_k = nn.Linear(shape.width, key_width, bias=False)
        self.attn_v = nn.Linear(shape.width, key_width, bias=False)
        self.attn_output = nn.Linear(shape.width, shape.width, bias=False)
        self.ffn_norm = nn.RMSNorm(shape.width, shape.norm_epsilon)
        self.ffn_gate = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.ffn_up = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.ffn_down = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def forward(self, stream: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """[batch, length, width] to the same shape."""
        batch, length, _ = stream.shape
        normed = self.attn_norm(stream)

        def split(states: Tensor) -> Tensor:
            return states.view(batch, length, -1, self.shape.head_width).transpose(1, 2)

        query = rotate(split(self.attn_q(normed)), cosine, sine)
        key = rotate(split(self.attn_k(normed)), cosine, sine)
        value = split(self.attn_v(normed))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        stream = stream + self.attn_output(mixed.transpose(1, 2).reshape(batch, length, -1))
        normed = self.ffn_norm(stream)
        return stream + self.ffn_down(functional.silu(self.ffn_gate(normed)) * self.ffn_up(normed))


class Llama(nn.Module):
    """Tokens [batch, length] to logits [batch, length, vocabulary]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = nn.RMSNorm(shape.width, shape.norm_epsilon)
        self.output = nn.Linear(shape.width, shape.vocabulary, bias=False)
        cosine, sine = rotation(shape, shape.context)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.weight.shape[1] ** -0.5)
        for block in self.blk if module is self else ():
            # Each branch starts silent, so that depth does not slow the first steps down.
            nn.init.zeros_(block.attn_output.weight)
            nn.init.zeros_(block.ffn_down.weight)

    def forward(self, tokens: Tensor, seen: Tensor | None = None) -> Tensor:
        """Logits for the token after each position; `seen` [places, width] stands where a token is `SEEN`."""
        length = tokens.shape[1]
        cosine, sine = self.cosine[:length], self.sine[:length]
        stream = self.token_embd(tokens)
        if seen is not None:
            stream = stream.masked_scatter((tokens == SEEN)[..., None], seen.to(stream.dtype))
        for block in self.blk:
            stream = block(stream, cosine, sine)
        return self.output(self.output_norm(stream))

    def parameter_count(self) -> int:
        """How many numbers are learned."""
        return sum(parameter.numel() for parameter in self.parameters())
