"""The first weights: random, but for two layers that begin as a circuit that copies.

Copying a city or a function's name from the prompt is what a small model learns last: it needs one layer
that looks a place or two back, and one that finds where the present was seen before. Left to chance neither
was there after 1.6 million tokens; begun like this it copies after forty steps. Training may change it all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.chat.model import Llama, Shape

# How far the first embeddings spread, and the one part that all share, for attention by place alone.
EMBEDDING_SPREAD, SHARED_PART = 0.5, 1.5
# The output begins as a faint copy of the embeddings: it leans to what is copied, without being sure.
OUTPUT_SHARE = 0.05
# How sharply the first layer looks at its place, and the second at what matches.
PLACE_SHARPNESS, MATCH_SHARPNESS = 1.2, 1.5


def look_back(shape: Shape, distance: int) -> tuple[Tensor, Tensor]:
    """A query and a key that, turned by their places, meet where the key stands `distance` places before.

    Only the faster half of the pairs is used: the slow ones hardly tell neighbours apart.
    """
    half = shape.head_width // 2
    pairs = torch.arange(0, half, 2).float()
    angle = distance * shape.rope_base ** (-pairs / shape.head_width)
    query, key = torch.zeros(shape.head_width), torch.zeros(shape.head_width)
    query[0:half:2] = 1.0
    key[0:half:2], key[1:half:2] = angle.cos(), angle.sin()
    return query * PLACE_SHARPNESS, key * PLACE_SHARPNESS


@torch.no_grad()
def set_first_weights(model: Llama) -> None:
    """Overwrite the embeddings, the output and the first two layers' attention in place."""
    shape = model.shape
    width, half = shape.head_width, shape.head_width // 2
    model.token_embd.weight.normal_(std=EMBEDDING_SPREAD)
    model.token_embd.weight[:, 0] = SHARED_PART
    model.output.weight.copy_(model.token_embd.weight * OUTPUT_SHARE)
    model.output.weight[:, 0] = 0.0

    # Layer 0: head h brings what stood h + 1 places before. Heads 0 and 1 bring it in the same words.
    before = model.blk[0]
    for head in range(shape.heads):
        rows = slice(head * width, (head + 1) * width)
        before.attn_q.weight[rows] *= 0.3
        before.attn_k.weight[rows] *= 0.3
        before.attn_q.weight[rows, 0], before.attn_k.weight[rows, 0] = look_back(shape, head + 1)
    before.attn_v.weight[width : 2 * width] = before.attn_v.weight[:width]
    nn.init.orthogonal_(before.attn_output.weight, gain=0.5)
    words, brought = before.attn_v.weight, before.attn_output.weight

    # Layer 1: head 0 finds where this token stood just before, head 1 where this and the last one did.
    # The content is compared in the slow half of the pairs, which distance hardly turns.
    match = model.blk[1]
    match.attn_q.weight[: 2 * width] *= 0.1
    match.attn_k.weight[: 2 * width] *= 0.1
    quarter = half + half // 2
    match.attn_q.weight[half:width] = words[half:width] * MATCH_SHARPNESS
    match.attn_k.weight[half:width] = brought[:, half:width].T * 2 * MATCH_SHARPNESS
    this, last = slice(half, quarter), slice(quarter, width)
    match.attn_q.weight[width:][this] = words[this] * MATCH_SHARPNESS
    match.attn_k.weight[width:][this] = brought[:, this].T * 2 * MATCH_SHARPNESS
    match.attn_q.weight[width:][last] = brought[:, last].T * 2 * MATCH_SHARPNESS
    match.attn_k.weight[width:][last] = brought[:, width:][:, last].T * 2 * MATCH_SHARPNESS

    # What is found there is said: the value goes back into the stream as it was read.
    turned = torch.empty(shape.width, shape.width)
    nn.init.orthogonal_(turned)
    match.attn_v.weight.copy_(turned)
    match.attn_output.weight.copy_(turned.T * 0.5)
    match.attn_output.weight[:, 2 * width :] = 0.0
