"""The program behind `headgate engine transcribe`: transcriptions and translations, in OpenAI's format.

With a model it listens through faster-whisper, without one through pocketsphinx. Must not know the gate,
which may or may not have started it.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from headgate.core import violation
from headgate.core.errors import InvalidField, SettingsError
from headgate.core.multipart import Form, FormReader, read_form
from headgate.core.ports import Exchange
from headgate.core.transcription import UPLOADS, TranscriptionRequest, TranslationRequest, Vad
from headgate.endpoints import TRANSCRIPTIONS, TRANSLATIONS
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

if TYPE_CHECKING:
    from headgate.engines.hearing import Recogniser, Segment, Sound, Wish

READ_BYTES = 262_144
"""Of a body, taken at a time: parsed in less than a millisecond."""

MEMORY_BYTES = 1_048_576
"""Of a file kept in memory: a minute of compressed speech. A longer one goes to a file without a name, which
is gone with its last user, however that ends."""


@click.command(
    name="transcribe", context_settings={"show_default": True, "help_option_names": ["-h", "--help"]}
)
@click.option(
    "--model", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder of faster-whisper's.  [default: pocketsphinx]",
)  # fmt: skip
@click.option("--alias", help="What replies call the model.  [default: the folder's name, or transcribe]")
@place_options
@model_options
def command(model: Path | None, alias: str | None, **options: Any) -> Program:
    """Write down what is said, in OpenAI's format."""
    named = alias or (model.absolute().name if model else "transcribe")
    taken = Options(model=model, alias=named, **options)
    prepare(taken)
    try:
        from headgate.engines import audio_in  # noqa: F401  # loaded now, not while the first request waits
    except ImportError as error:
        raise SettingsError(f"{error.name} is missing: pip install 'headgate[media]'") from None
    listening = Listening(taken, _whisper(model, taken) if model else _sphinx())
    services = (
        Service(TRANSCRIPTIONS.path, listening.transcribe, TRANSCRIPTIONS.body_limit_bytes),
        Service(TRANSLATIONS.path, listening.translate, TRANSLATIONS.body_limit_bytes),
    )
    return Program(taken, services)


def _whisper(folder: Path, options: Options) -> Recogniser:
    try:
        from headgate.engines.transcribe_whisper import Whisper
    except ImportError as error:
        raise SettingsError(f"{error.name} is missing: pip install 'headgate[transcribe]'") from None
    return Whisper(folder, threads=options.thread_count)


def _sphinx() -> Recogniser:
    try:
        from headgate.engines.transcribe_sphinx import Sphinx
    except ImportError as error:
        raise SettingsError(f"{error.name} is missing: pip install 'headgate[transcribe-starter]'") from None
    return Sphinx()


class Listening:
    """Answers requests to listen."""

    def __init__(self, options: Options, recogniser: Recogniser) -> None:
        self._options = options
        self._recogniser = recogniser
        self._reading = Worker("reading")
        # One listens at a time: the libraries use every core. Requests take turns, segment by segment.
        self._hearing = Worker("hearing")

    async def transcribe(self, exchange: Exchange) -> None:
        """One transcription."""
        with tempfile.SpooledTemporaryFile(MEMORY_BYTES) as file:
            form = await self._form(exchange, file)
            request = read_form(form, TranscriptionRequest, UPLOADS)
            check_model(request.model, self._options)
            _refuse_what_nobody_can(request)
            wish = _wish(request)
            await self._answer(exchange, file, request, wish)

    async def translate(self, exchange: Exchange) -> None:
        """One translation. Who knows English only writes down what is English already, and says so."""
        from headgate.engines.hearing import Wish

        with tempfile.SpooledTemporaryFile(MEMORY_BYTES) as file:
            form = await self._form(exchange, file)
            request = read_form(form, TranslationRequest, UPLOADS)
            check_model(request.model, self._options)
            wish = Wish(translate=True, prompt=request.prompt, temperature=request.temperature)
            await self._answer(exchange, file, request, wish)

    async def _form(self, exchange: Exchange, file: IO[bytes]) -> Form:
        """Reads the body as it comes; the file's bytes end up in `file`."""
        pieces: list[bytes] = []
        reader = FormReader(exchange.header(b"content-type"), pieces.append)
        while data := await exchange.body(READ_BYTES):
            reader.feed(data)
            if pieces:
                await self._reading.do(file.writelines, pieces)
                pieces.clear()
        return reader.finish()

    async def _answer(
        self,
        exchange: Exchange,
        file: IO[bytes],
        request: TranscriptionRequest | TranslationRequest,
        wish: Wish,
    ) -> None:
        from headgate.engines.transcript import CONTENT_TYPES, FORMATS, Transcript, written

        form = request.response_format or "json"
        one_of("response_format", form, FORMATS)
        if request.stream and form not in ("json", "text"):
            raise violation.not_together("stream", "response_format")
        wanted = [True]
        try:
            sound = await self._reading.do(self._sound, file, lambda: wanted[0])
            found = self._segments(sound, wish, lambda: wanted[0])
            language = await anext(found)
            assert isinstance(language, str)
            heard = Transcript(language, len(sound) / 16_000, [], wish.translate, wish.prompt or "")
            headers = self._headers(request)
            if request.stream:
                await _stream(exchange, heard, found, headers)
                return
            async for segment in found:
                heard.segments.append(segment)  # type: ignore[arg-type]  # the language came first
        finally:
            wanted[0] = False
        granularities = getattr(request, "timestamp_granularities", None) or ()
        body = written(heard, form, granularities)
        kind = CONTENT_TYPES.get(form, "text/plain; charset=utf-8")
        exchange.reply(200, f"content-type: {kind}\r\n{headers}".encode(), body)

    def _sound(self, file: IO[bytes], wanted: Callable[[], bool]) -> Sound:
        from headgate.engines.audio_in import read_sound

        file.seek(0)
        return read_sound(file, wanted)

    async def _segments(
        self, sound: Sound, wish: Wish, wanted: Callable[[], bool]
    ) -> AsyncIterator[str | Segment]:
        """The language, then segments as they are found."""
        heard = await self._hearing.do(self._recogniser.hear, sound, wish, wanted)
        yield heard.language
        while (segment := await self._hearing.do(_next, heard.segments)) is not None:
            yield segment

    def _headers(self, request: TranscriptionRequest | TranslationRequest) -> str:
        lines = ""
        if self._recogniser.languages is not None:
            lines += f"x-headgate-languages: {', '.join(self._recogniser.languages)}\r\n"
        ignored = [name for name in self._recogniser.ignores if getattr(request, name, None)]
        return lines + (f"x-headgate-dropped: {', '.join(ignored)}\r\n" if ignored else "")


def _next(segments: Iterator[Segment]) -> Segment | None:
    return next(segments, None)


async def _stream(exchange: Exchange, heard: Any, found: AsyncIterator[str | Segment], headers: str) -> None:
    from headgate.engines.transcript import delta, done, glue

    exchange.begin(200, f"content-type: text/event-stream\r\n{headers}".encode())
    outflow = Outflow(exchange)
    text = ""
    async for segment in found:
        assert not isinstance(segment, str)
        heard.segments.append(segment)
        piece = segment.text if segment.text.startswith(" ") or not text else glue(text) + segment.text
        piece = piece if text else piece.lstrip()
        text += piece
        await outflow.write(delta(piece))
        await asyncio.sleep(0)
    exchange.finish(done(heard))


def _refuse_what_nobody_can(request: TranscriptionRequest) -> None:
    one_of_each = (("timestamp_granularities", ("word", "segment")), ("include", ("logprobs",)))
    for name, known in one_of_each:
        for value in getattr(request, name) or ():
            one_of(name, value, known)
    for name in ("include", "known_speaker_names", "known_speaker_references"):
        if getattr(request, name):
            raise InvalidField(
                f"Unsupported parameter: '{name}' is not supported with this model.",
                param=name,
                code="unsupported_parameter",
            )


def _wish(request: TranscriptionRequest) -> Wish:
    from headgate.engines.hearing import Wish

    languages = request.languages or ()
    return Wish(
        language=request.language or (languages[0] if len(languages) == 1 else None) or None,
        prompt=request.prompt,
        keywords=tuple(request.keywords or ()),
        temperature=request.temperature,
        words="word" in (request.timestamp_granularities or ()),
        vad=_vad(request.chunking_strategy),
    )


def _vad(strategy: Vad | str | None) -> dict[str, float] | None:
    if strategy is None or strategy == "":
        return None
    if isinstance(strategy, str):
        one_of("chunking_strategy", strategy, ("auto",))
        return {}
    one_of("chunking_strategy.type", strategy.type, ("server_vad",))
    numbers = {
        "threshold": strategy.threshold,
        "silence_duration_ms": strategy.silence_duration_ms,
        "prefix_padding_ms": strategy.prefix_padding_ms,
    }
    return {name: value for name, value in numbers.items() if value is not None}
