"""Writes GGUF models by hand that say a chosen text: the deterministic upstream of the tests.

A bigram is a Llama of one layer whose attention and feed-forward are zero, so the next token depends on the
last one alone. It must not know who asks it what.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import gguf
import numpy as np

CHATML = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A template that knows nothing of tools."""

CHATML_TOOLS = (
    "{% if tools %}<|im_start|>system\n# Tools\n<tools>\n"
    "{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}</tools>\n"
    'Answer with <tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
    "<|im_end|>\n{% endif %}"
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] %}{{ message['content'] }}{% endif %}"
    "{% if message['tool_calls'] %}{% for call in message['tool_calls'] %}"
    '\n<tool_call>\n{"name": "{{ call.function.name }}", '
    '"arguments": {{ call.function.arguments | tojson }}}\n</tool_call>{% endfor %}{% endif %}'
    "<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The same with tools in the shape that Qwen's and Hermes' templates made common."""

SURE = 40.0
"""Logit of what is to be said next: no temperature a client may ask for shakes it."""

JSON = {ord('"'): 14.0, ord("}"): 13.0, ord("]"): 12.0, ord(":"): 11.0, ord(","): 10.0, ord("1"): 9.0}
"""What is said where a grammar forbids the chosen text: JSON that comes to an end soon."""

END = 15.0
"""Logit of ending where a grammar allows it."""

BLANK = -5.0
"""Logit of white space, which a grammar may allow without end."""

HEAD_SIZE = 32
CONTEXT = 32_768


def write_bigram(
    path: Path,
    says: str | Sequence[str] = "Hello from a bigram.",
    *,
    template: str = CHATML,
    endless: bool = False,
    name: str = "bigram",
) -> Path:
    """Write a model that answers every prompt with `says`, then stops; returns the path.

    Of several texts each is equally likely, so that seeds, n and temperature show. With `endless` it says the
    text again and again until it is cut off. Each token of the text is two characters or more, see `split`;
    those of a prompt are one byte. A grammar is obeyed, with the shortest JSON that it allows.
    """
    texts = [says] if isinstance(says, str) else list(says)
    chains = split(texts)
    _Model(chains, endless).write(path, template, name)
    return path


def split(texts: Iterable[str]) -> list[list[str]]:
    """Cut each text into pieces of which no two in all the texts are equal (the idea of LZ78)."""
    used: set[str] = set()
    chains = []
    for text in texts:
        chain: list[str] = []
        start = 0
        while start < len(text):
            end = start + 2
            while text[start:end] in used and end < len(text):
                end += 1
            piece = text[start:end]
            while piece in used or (len(piece) == 1 and chain):
                # The tail is no new piece: it goes to the one before.
                last = chain.pop()
                used.discard(last)
                piece = last + piece
            used.add(piece)
            chain.append(piece)
            start = end
        chains.append(chain)
    return chains


def _byte_names() -> list[str]:
    """GPT-2's printable name of each byte, as byte-level vocabularies spell them."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    names = {byte: chr(byte) for byte in plain}
    extra = (chr(0x100 + n) for n in range(256))
    return [names[byte] if byte in names else next(extra) for byte in range(256)]


class _Model:
    """Vocabulary and transitions, turned into weights.

    Dimension 0 of every embedding carries what is always possible; dimension 1 + state is one-hot. State 0 is
    "nothing said yet", where nearly any prompt ends; state 1 is "inside JSON that a grammar asked for".
    """

    SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

    def __init__(self, chains: list[list[str]], endless: bool) -> None:
        names = _byte_names()
        self.tokens = [*names, *self.SPECIAL]
        self.end = self.tokens.index("<|im_end|>")
        known = {name: index for index, name in enumerate(self.tokens)}
        self.state = dict.fromkeys(b'"{}[]:,1', 1)
        self.next: dict[int, set[int]] = {0: set(), 1: set()}
        for chain in chains:
            state = 0
            for piece in chain:
                name = "".join(names[byte] for byte in piece.encode())
                token = known.setdefault(name, len(self.tokens))
                if token == len(self.tokens):
                    self.tokens.append(name)
                self.next[state].add(token)
                state = len(self.next)
                self.state[token] = state
                self.next[state] = set()
            self.next[state] = self.next[0] if endless else {self.end}

    def write(self, path: Path, template: str, name: str) -> None:
        width = -(-(len(self.next) + 1) // 32) * 32
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_name(name)
        writer.add_context_length(CONTEXT)
        writer.add_embedding_length(width)
        writer.add_block_count(1)
        writer.add_feed_forward_length(HEAD_SIZE)
        writer.add_head_count(1)
        writer.add_head_count_kv(1)
        writer.add_key_length(HEAD_SIZE)
        writer.add_value_length(HEAD_SIZE)
        writer.add_rope_dimension_count(HEAD_SIZE)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_vocab_size(len(self.tokens))
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(self.tokens)
        writer.add_token_types(list(self._token_types()))
        # The format wants at least one; this one joins two NUL bytes, which no prompt has.
        writer.add_token_merges([f"{self.tokens[0]} {self.tokens[0]}"])
        writer.add_bos_token_id(256)
        writer.add_eos_token_id(self.end)
        writer.add_add_bos_token(False)
        writer.add_chat_template(template)
        for tensor, value in self._weights(width).items():
            writer.add_tensor(tensor, value.astype(np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    def _token_types(self) -> Iterator[int]:
        for token in self.tokens:
            yield int(gguf.TokenType.CONTROL if token in self.SPECIAL else gguf.TokenType.NORMAL)

    def _weights(self, width: int) -> dict[str, np.ndarray]:
        count = len(self.tokens)
        embedding = np.zeros((count, width))
        embedding[:, 0] = 1.0
        for token in range(count):
            embedding[token, 1 + self.state.get(token, 0)] = 1.0
        output = np.zeros((count, width))
        for byte, logit in JSON.items():
            output[byte, 0] = logit
        for byte in b"\t\n\r ":
            output[byte, 0] = BLANK
        output[256 : 256 + len(self.SPECIAL), 0] = BLANK
        output[self.end, 0] = END
        for state, tokens in self.next.items():
            for token in tokens:
                output[token, 1 + state] = SURE
        # The final norm scales each embedding (two ones) to a mean square of one: undo it.
        output /= np.sqrt(width / 2)
        zeros = np.zeros
        return {
            "token_embd.weight": embedding,
            "output.weight": output,
            "output_norm.weight": np.ones(width),
            "blk.0.attn_norm.weight": np.ones(width),
            "blk.0.ffn_norm.weight": np.ones(width),
            "blk.0.attn_q.weight": zeros((HEAD_SIZE, width)),
            "blk.0.attn_k.weight": zeros((HEAD_SIZE, width)),
            "blk.0.attn_v.weight": zeros((HEAD_SIZE, width)),
            "blk.0.attn_output.weight": zeros((width, HEAD_SIZE)),
            "blk.0.ffn_gate.weight": zeros((HEAD_SIZE, width)),
            "blk.0.ffn_up.weight": zeros((HEAD_SIZE, width)),
            "blk.0.ffn_down.weight": zeros((width, HEAD_SIZE)),
        }
