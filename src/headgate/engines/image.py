"""The program behind `headgate engine image`: pictures drawn, changed and varied, in OpenAI's format.

Without a model it paints with the starter, with one through diffusers. Must not know the gate, which may or
may not have started it.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from secrets import randbits
from typing import TYPE_CHECKING, Any

import click
import msgspec

from headgate.core import violation
from headgate.core.body import open_body
from headgate.core.errors import InvalidField, SettingsError
from headgate.core.image import (
    EDIT_UPLOADS,
    VARIATION_UPLOADS,
    ImageEditRequest,
    ImageRequest,
    ImageVariationRequest,
)
from headgate.core.ports import Exchange
from headgate.endpoints import IMAGES_EDITS, IMAGES_GENERATIONS, IMAGES_VARIATIONS
from headgate.engines.image_reply import Datum, Event, Reply, Request, about, moments, said, usage
from headgate.engines.image_uploads import Uploads, read_json_uploads, read_uploads
from headgate.engines.place import place_options
from headgate.engines.program import (
    JSON,
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
    from headgate.engines.painting import Painter, Seen, Wish

QUALITIES = {"low": 0.5, "medium": 1.0, "standard": 1.0, "high": 1.5, "hd": 1.5}
"""Share of the model's own number of steps."""

STYLES = {"vivid": 1.2, "natural": 0.8}
FIDELITIES = {"high": 0.8, "low": 1.2}
"""How much the prompt counts, of the model's own measure: `painting.Wish.boldness`."""

CHOICES = {
    "quality": ("auto", *QUALITIES),
    "style": tuple(STYLES),
    "response_format": ("url", "b64_json"),
    "output_format": ("png", "jpeg", "webp"),
    "background": ("auto", "opaque"),
    "moderation": ("auto", "low"),
    "input_fidelity": tuple(FIDELITIES),
}
"""What each parameter may say here. No model of ours paints what one can see through; none is moderated."""


@click.command(name="image", context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.option(
    "--model", type=click.Path(path_type=Path, exists=True),
    help="A folder of diffusers', or starter-image's ONNX file.  [default: the starter]",
)  # fmt: skip
@click.option("--alias", help="What replies call the model.  [default: the folder's name, or starter-image]")
@place_options
@model_options
def command(model: Path | None, alias: str | None, **options: Any) -> Program:
    """Draw and change pictures, in OpenAI's format."""
    folder = model if model is not None and model.is_dir() else None
    named = alias or (folder.absolute().name if folder else "starter-image")
    taken = Options(model=model, alias=named, **options)
    prepare(taken)
    painting = Painting(taken, _diffusers(folder, taken) if folder else _starter(model, taken))
    services = (
        Service(IMAGES_GENERATIONS.path, painting.generate, IMAGES_GENERATIONS.body_limit_bytes),
        Service(IMAGES_EDITS.path, painting.edit, IMAGES_EDITS.body_limit_bytes),
        Service(IMAGES_VARIATIONS.path, painting.vary, IMAGES_VARIATIONS.body_limit_bytes),
    )
    return Program(taken, services)


def _starter(hand: Path | None, options: Options) -> Painter:
    try:
        import headgate_starter
        from headgate.engines.image_starter import StarterPainter
    except ImportError as error:
        extra = "starter" if error.name == "headgate_starter" else "embed,media"
        raise SettingsError(f"{error.name} is missing: pip install 'headgate[{extra}]'") from None
    hand = hand or headgate_starter.FOLDER / "starter-image.onnx"
    reader = hand.with_name(f"{hand.stem}-reader.onnx")
    for file in (hand, reader):
        if not file.is_file():
            raise SettingsError(f"{file.name} is not there")
    painter: Painter = StarterPainter(hand, reader, threads=options.thread_count)
    return painter


def _diffusers(folder: Path, options: Options) -> Painter:
    try:
        from headgate.engines.image_diffusers import DiffusersPainter
    except ImportError as error:
        raise SettingsError(f"{error.name} is missing: pip install 'headgate[image]'") from None
    painter: Painter = DiffusersPainter(folder, threads=options.thread_count)
    return painter


class Painting:
    """Answers requests for pictures."""

    def __init__(self, options: Options, painter: Painter) -> None:
        self._options = options
        self._painter = painter
        # One paints at a time, a step at a time: requests take turns, and who leaves is not painted for.
        self._work = Worker("painting")
        self._reading = Worker("reading")

    async def generate(self, exchange: Exchange) -> None:
        """Pictures from words alone."""
        request, _ = open_body(await exchange.body(), ImageRequest)
        await self._answer(exchange, request, Uploads())

    async def edit(self, exchange: Exchange) -> None:
        """Pictures that are changed."""
        if (exchange.header(b"content-type") or b"").lower().startswith(b"application/json"):
            request, _ = open_body(await exchange.body(), ImageEditRequest)
            uploads = await self._reading.do(read_json_uploads, request)
        else:
            request, uploads = await read_uploads(exchange, ImageEditRequest, EDIT_UPLOADS, self._reading)
        await self._answer(exchange, request, uploads)

    async def vary(self, exchange: Exchange) -> None:
        """Pictures like one that is given."""
        request, uploads = await read_uploads(
            exchange, ImageVariationRequest, VARIATION_UPLOADS, self._reading
        )
        await self._answer(exchange, request, uploads)

    async def _answer(self, exchange: Exchange, request: Request, uploads: Uploads) -> None:
        check_model(request.model, self._options)
        for name, known in CHOICES.items():
            value = getattr(request, name, None)
            if value is not None:
                one_of(name, value, known)
        if isinstance(request, ImageEditRequest) and uploads.hole is not None and len(uploads.sources) > 1:
            raise InvalidField(
                "A mask can be used with one image only.", param="mask", code="invalid_parameter_combination"
            )
        wishes = self._wishes(request, uploads)
        if getattr(request, "stream", None):
            await self._stream(exchange, request, wishes)
        else:
            if getattr(request, "partial_images", None):
                raise violation.only_when_enabled("partial_images", "stream")
            await self._whole(exchange, request, wishes)

    def _wishes(self, request: Request, uploads: Uploads) -> list[Wish]:
        """One wish for each picture that is asked for."""
        from headgate.engines.canvas import DEFAULT_SIDE, LARGEST, read_size
        from headgate.engines.painting import Wish

        default = (DEFAULT_SIDE, DEFAULT_SIDE)
        if uploads.sources and not isinstance(request, ImageVariationRequest):
            first = uploads.sources[0]
            # As large as they are, side by side; OpenAI's default where that is too large.
            size = (first.shape[1] * len(uploads.sources), first.shape[0])
            default = size if max(size) <= LARGEST else default
        width, height = read_size(request.size, default)
        seed = request.seed if request.seed is not None else randbits(32)
        quality = QUALITIES.get(getattr(request, "quality", None) or "auto", 1.0)
        boldness = STYLES.get(getattr(request, "style", None) or "", 1.0)
        boldness *= FIDELITIES.get(getattr(request, "input_fidelity", None) or "", 1.0)
        return [
            Wish(
                prompt=getattr(request, "prompt", ""),
                width=width,
                height=height,
                seed=(seed + number) % 2**32,
                steps=max(1, round(self._painter.steps * quality)),
                boldness=boldness,
                sources=uploads.sources,
                hole=uploads.hole,
                variation=isinstance(request, ImageVariationRequest),
            )
            for number in range(request.n or 1)
        ]

    async def _whole(self, exchange: Exchange, request: Request, wishes: list[Wish]) -> None:
        data = []
        for wish in wishes:
            last: Seen | None = None
            async for seen in self._painted(wish):
                last = seen
            assert last is not None
            text = await self._encoded(request, last)
            if said(request, "response_format", "b64_json") == "url":
                data.append(Datum(url=f"data:image/{said(request, 'output_format', 'png')};base64,{text}"))
            else:
                data.append(Datum(b64_json=text))
        reply = Reply(int(time.time()), data, **about(request, wishes[0]), usage=usage(request, wishes))
        exchange.reply(200, JSON, await self._reading.do(msgspec.json.encode, reply))

    async def _stream(self, exchange: Exchange, request: Request, wishes: list[Wish]) -> None:
        kind = "image_edit" if isinstance(request, ImageEditRequest) else "image_generation"
        partials = getattr(request, "partial_images", None) or 0
        exchange.begin(200, b"content-type: text/event-stream\r\n")
        outflow = Outflow(exchange)
        for wish in wishes:
            shown_at = moments(wish.steps or self._painter.steps, partials)
            index = step = 0
            seen: Seen | None = None
            async for seen in self._painted(wish):
                step += 1
                if step in shown_at:
                    event = await self._event(f"{kind}.partial_image", request, wish, seen)
                    event.partial_image_index = index
                    index += 1
                    await outflow.write(event.written())
            assert seen is not None
            event = await self._event(f"{kind}.completed", request, wish, seen)
            event.usage = usage(request, [wish])
            await outflow.write(event.written())
        exchange.finish()

    async def _painted(self, wish: Wish) -> AsyncIterator[Seen]:
        """What is seen after each step. Who leaves is not painted for any longer."""
        steps = self._painter.paint(wish)
        try:
            while (seen := await self._work.do(_next, steps)) is not None:
                yield seen
        finally:
            self._work.later(steps.close)

    async def _event(self, kind: str, request: Request, wish: Wish, seen: Seen) -> Event:
        text = await self._encoded(request, seen)
        return Event(kind, text, int(time.time()), **about(request, wish))

    async def _encoded(self, request: Request, seen: Seen) -> str:
        form = said(request, "output_format", "png")
        compression = getattr(request, "output_compression", None)
        return await self._reading.do(_base64, seen, form, 100 if compression is None else compression)


def _base64(seen: Seen, form: str, compression: int) -> str:
    from headgate.engines.canvas import told

    return b64encode(told(seen(), form, compression)).decode()


def _next(steps: Iterator[Seen]) -> Seen | None:
    return next(steps, None)
