"""The program behind `headgate engine speech`: POST /v1/audio/speech, in OpenAI's format.

With a model it speaks through sherpa-onnx, without one through eSpeak NG and, where the system has it, flite.
Must not know the gate, which may or may not have started it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from headgate.core.body import open_body
from headgate.core.errors import SettingsError
from headgate.core.estimate import estimate_tokens
from headgate.core.ports import Exchange
from headgate.core.speech import SpeechRequest
from headgate.core.sse import event as sse_event
from headgate.endpoints import SPEECH
from headgate.engines.place import place_options
from headgate.engines.program import (
    Options,
    Outflow,
    Program,
    Service,
    Worker,
    check_model,
    model_options,
    one_of,
    prepare,
)
from headgate.engines.utterance import utterances
from headgate.engines.voices import Spoken, Synthesiser, choose

if TYPE_CHECKING:
    from headgate.engines.audio_out import AudioOut

TOKENS_A_MINUTE = 1250
"""What a minute of speech counts for: OpenAI's own rate, by its prices per minute and per token."""

FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")


@click.command(name="speech", context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.option(
    "--model", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder of sherpa-onnx's.  [default: eSpeak NG]",
)  # fmt: skip
@click.option("--alias", help="What replies call the model.  [default: the folder's name, or speech]")
@click.option("--voice", "voices", multiple=True, metavar="NAME=VOICE", help="Another name for a voice.")
@place_options
@model_options
def command(model: Path | None, alias: str | None, voices: tuple[str, ...], **options: Any) -> Program:
    """Read texts aloud, in OpenAI's format."""
    taken = Options(model=model, alias=alias or (model.absolute().name if model else "speech"), **options)
    prepare(taken)
    names = dict(_pair(voice) for voice in voices)
    try:
        from headgate.engines import audio_out  # noqa: F401  # loaded now, for the first request waits for a sound
    except ImportError as error:
        raise SettingsError(f"{error.name} is missing: pip install 'headgate[media]'") from None
    synthesisers = [_sherpa(model, taken, names)] if model else _small_ones()
    service = Service(SPEECH.path, Speech(taken, synthesisers, names).answer, SPEECH.body_limit_bytes)
    return Program(taken, (service,))


def _pair(text: str) -> tuple[str, str]:
    name, equals, voice = text.partition("=")
    if not (name and equals and voice):
        raise click.UsageError(f"--voice {text}: expected NAME=VOICE")
    return name, voice


def _sherpa(folder: Path, options: Options, names: dict[str, str]) -> Synthesiser:
    try:
        from headgate.engines.speech_sherpa import Sherpa
    except ImportError as error:
        raise SettingsError(f"{error.name} is missing: pip install 'headgate[speech]'") from None
    return Sherpa(folder, threads=options.thread_count, names=names)


def _small_ones() -> list[Synthesiser]:
    try:
        from headgate.engines.speech_espeak import Espeak
    except ImportError as error:
        raise SettingsError(f"{error.name} is missing: pip install 'headgate[espeak]'") from None
    found: list[Synthesiser] = [Espeak()]
    from headgate.engines.speech_flite import Flite

    try:
        found.append(Flite())
    except OSError:
        pass  # most systems do not have it, and nothing names its voices then
    return found


class Speech:
    """Answers requests to speak."""

    def __init__(self, options: Options, synthesisers: list[Synthesiser], names: dict[str, str]) -> None:
        self._options = options
        self._synthesisers = synthesisers
        self._names = names
        # One voice speaks at a time: the libraries are not made for two. Requests take turns, piece by piece.
        self._speaking = Worker("speaking")
        self._encoding = Worker("encoding")

    async def answer(self, exchange: Exchange) -> None:
        """One request: the sound goes out while it is being made."""
        from headgate.engines.audio_out import FORMATS as WRITTEN
        from headgate.engines.audio_out import AudioOut

        request, _ = open_body(await exchange.body(), SpeechRequest)
        check_model(request.model, self._options)
        one_of("response_format", request.response_format or "mp3", FORMATS)
        one_of("stream_format", request.stream_format or "audio", ("audio", "sse"))
        name = request.voice_name
        synthesiser, voice = choose(self._synthesisers, self._names.get(name, name))
        how = Spoken(voice, request.speed or 1.0, manner(request.instructions or ""))
        sound = AudioOut(request.response_format or "mp3", synthesiser.rate, synthesiser.tempo(how.speed))
        kind = (
            "text/event-stream" if request.stream else WRITTEN[request.response_format or "mp3"].content_type
        )
        lines = [f"content-type: {kind}", f"x-headgate-voice: {synthesiser.name}/{voice}"]
        if request.instructions and not (how.manner and synthesiser.name == "espeak-ng"):
            lines.append("x-headgate-dropped: instructions")
        headers = "".join(f"{line}\r\n" for line in lines).encode()
        outflow = Outflow(exchange)
        async for data in self._made(request, synthesiser, how, sound):
            if not exchange.begun:
                exchange.begin(200, headers)
            if data:
                await outflow.write(_delta(data) if request.stream else data)
        exchange.finish(_done(request, sound.seconds) if request.stream else b"")

    async def _made(
        self, request: SpeechRequest, synthesiser: Synthesiser, how: Spoken, sound: AudioOut
    ) -> AsyncIterator[bytes]:
        """The sound, piece by piece. Left early, the piece under way ends soon."""
        wanted = [True]
        try:
            for piece in utterances(request.input):
                samples = await self._speaking.do(synthesiser.speak, piece, how, lambda: wanted[0])
                yield await self._encoding.do(sound.feed, samples)
            yield await self._encoding.do(sound.finish)
        finally:
            wanted[0] = False


class _Delta(msgspec.Struct):
    type: str
    audio: str


def _delta(data: bytes) -> bytes:
    return sse_event(msgspec.json.encode(_Delta("speech.audio.delta", base64.b64encode(data).decode())))


def _done(request: SpeechRequest, seconds: float) -> bytes:
    given = estimate_tokens(request.input) + estimate_tokens(request.instructions or "")
    made = round(seconds * TOKENS_A_MINUTE / 60)
    usage = {"input_tokens": given, "output_tokens": made, "total_tokens": given + made}
    return sse_event(msgspec.json.encode({"type": "speech.audio.done", "usage": usage}))


_MANNERS = (
    (r"\b(high|child|young|squeaky)", {"pitch": 1.5}),
    (r"\b(deep|low[- ](voice|pitch)|old|gruff)", {"pitch": 0.6}),
    (r"\b(cheer|excit|enthusias|happy|lively|energetic|joy)", {"pitch": 1.15, "range": 1.6}),
    (r"\b(calm|sooth|serious|sad|gentle|relax)", {"pitch": 0.9, "range": 0.7}),
    (r"\b(monoton|robot|flat)", {"range": 0.1}),
    (r"\b(quiet|soft|whisper)", {"volume": 0.5}),
    (r"\b(loud|shout)", {"volume": 1.6}),
)


def manner(instructions: str) -> dict[str, float]:
    """What of instructions a formant synthesiser can do: pitch, melody, volume, by the words in them."""
    found: dict[str, float] = {}
    for pattern, factors in _MANNERS:
        if re.search(pattern, instructions, re.IGNORECASE):
            found |= factors
    return found
