"""Every setting: its type, its range, its default and the reason of both.

Records only. `core/settings_text.py` makes them from text; nothing here reads files or the environment.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from headgate.core.quirks import Quirks
from headgate.core.secret import MaybeSecret, Secret
from headgate.core.settings_kinds import HOUR_MS, MINUTE_MS, Milliseconds, ModelName, Name
from headgate.core.settings_ledger import LedgerSettings
from headgate.core.settings_limits import LimitSettings
from headgate.core.settings_media import Media
from headgate.core.settings_prices import PriceSettings
from headgate.core.settings_routing import Health, Model, ModelTarget, NamedModel, Routing, target_of
from headgate.core.settings_telemetry import Log, Metrics, Telemetry


class FileOrFolder(str):
    """A path in the configuration: relative ones start at the configuration file's folder."""

    __slots__ = ()


class File(FileOrFolder):
    """The same where a folder will not do."""

    __slots__ = ()


ApiVersion = Annotated[str, Meta(pattern=r"^[0-9A-Za-z._-]{1,40}\Z", description="a version of an API")]
"""Part of a URL's query: dates, mostly."""


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[server]`: where the gate listens, and what one client may ask of it."""

    host: Annotated[str, Meta(min_length=1, max_length=253)] = "127.0.0.1"
    """Address to listen on. This machine alone, until the operator opens it (`0.0.0.0` or `::`)."""
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8000
    """TCP port; 0 takes any free one. 8000 is what samples of such servers use."""
    tls_cert_file: File | None = None
    """PEM certificate chain; with `tls_key_file`, clients must speak TLS. Off: usually a proxy does it."""
    tls_key_file: File | None = None
    """PEM private key that belongs to `tls_cert_file`."""
    header_bytes: Annotated[int, Meta(ge=1024, le=1_048_576)] = 32_768
    """Largest request head in bytes: four of nginx's 8 KiB buffers; browsers' cookies stay under half."""
    header_count: Annotated[int, Meta(ge=8, le=1000)] = 100
    """Most header lines in a request: proxies add perhaps twenty to a client's ten."""
    header_timeout_ms: Milliseconds = 15_000
    """From a head's first byte to its end, so that a trickle cannot hold a connection."""
    body_timeout_ms: Milliseconds = 300_000
    """From the head to the body's end: 64 MiB over a 2 Mbit/s line."""
    idle_timeout_ms: Milliseconds = 75_000
    """How long a connection without a request is kept: longer than the 60 s of common proxies."""
    connections: Annotated[int, Meta(ge=1, le=1_000_000)] = 20_000
    """Most client connections at once: each costs about 50 kB and two file descriptors while it streams."""
    grace_ms: Annotated[int, Meta(ge=0, le=24 * HOUR_MS)] = 25_000
    """How long open streams may go on after SIGTERM: container platforms kill after 30 s."""
    cors_origins: tuple[str, ...] = ("*",)
    """Origins whose pages may call us from a browser. `*` is any, as at OpenAI: every call needs a key, and
    no cookie counts."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks (CIDR) of proxies whose X-Forwarded-For is believed, for keys bound to addresses. By
    default none: any client can write that header."""
    comment_interval_ms: Annotated[int, Meta(ge=10, le=10 * MINUTE_MS)] = 5_000
    """A stream that is quiet for this long gets an SSE comment: proxies give up after 30 s of silence."""
    first_comment_ms: Annotated[int, Meta(ge=10, le=10 * MINUTE_MS)] = 15_000
    """How long a stream's first event may be late before the reply begins with a comment: until then an
    upstream's failure can still be told by its HTTP status."""


class JournalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[journal]`: the record of every attempt."""

    fsync_interval_ms: Annotated[int, Meta(ge=0, le=MINUTE_MS)] = 1000
    """How often records are forced onto the disk; 0 does it for each. This is what a power cut may take: a
    dying process loses nothing either way."""
    keep_bytes: Annotated[int, Meta(ge=1_048_576, le=2**50)] = 1_073_741_824
    """Oldest records go when the journal is larger; 1 GiB is a few million requests."""


class Starter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[starter]`: the small models that come along, so that the gate works before anything is configured."""

    enabled: bool = True
    """Whether the starters are served that are installed: `starter-chat`, `starter-embed` and so on. While no
    upstream is configured, the names in OpenAI's samples are aliases of them, so that samples run."""


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`identity` of an upstream: whose it is, and what it is proven with. Each kind has fields of its own."""

    kind: Literal["aws", "google", "entra"]
    """`aws` signs requests (SigV4); `google` and `entra` get tokens by OAuth, and renew them in time."""
    profile: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    """aws: a profile in AWS's own files. Without it or a key, AWS's usual chain is asked: environment, files,
    the container's or the machine's role."""
    access_key_id: Secret | None = None
    """aws: a key's id, with `secret_access_key`."""
    secret_access_key: Secret | None = None
    """aws: the key itself."""
    session_token: Secret | None = None
    """aws: what comes with a key that is lent for a time."""
    region: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}\Z", description="a region")] | None = None
    """aws: the region to sign for; that of `base_url`'s host where nothing is said."""
    file: File | None = None
    """google: a service account's key, or another file of credentials (JSON). Without it, the application
    default credentials are looked for: GOOGLE_APPLICATION_CREDENTIALS, gcloud's own, the machine's."""
    tenant_id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9.-]{1,128}\Z", description="a tenant")] | None = None
    """entra: the directory, by id or domain."""
    client_id: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    """entra: the application."""
    client_secret: Secret | None = None
    """entra: the application's secret."""
    scope: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    """google, entra: what the token is for, where it is not the usual."""
    authority: Annotated[str, Meta(description="a URL")] = "https://login.microsoftonline.com"
    """entra: who gives the tokens; a national cloud has one of its own."""


class Upstream(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[[upstream]]`: a server that answers for some models."""

    name: Name
    """What the journal and logs call it."""
    provider: str | None = None
    """A service that is known by name: fills in address, dialect, key, quirks where none is said here."""
    dialect: Literal["openai", "llamacpp", "anthropic", "gemini", "azure", "bedrock", "cohere"] = "openai"
    """The wire format spoken there; OpenAI's, since nearly every server offers it."""
    base_url: Annotated[str, Meta(description="a URL")]
    """`https://host[:port]/v1`, `http://...` or `unix:/path/to.sock:/v1`; requests' paths are added."""
    api_key: Secret | None = None
    """`{ env = "NAME" }` or `{ file = "PATH" }`, sent as the dialect wants it; none where none is needed."""
    api_keys: tuple[Secret, ...] = ()
    """Several keys in place of `api_key`, asked in turn; one that is refused rests alone."""
    identity: Identity | None = None
    """A cloud's identity in place of a key: it signs each request, or gets a token and renews it."""
    models: Annotated[tuple[Model, ...], Meta(min_length=1, description="a list with a model's name in it")]
    """The models to serve from here: names, or `{ name = "...", upstream_name = "..." }`. The same model at
    several upstreams has several targets."""
    discover: bool = False
    """Ask its `/models` what it has: names with a `*` in `models` are then what is looked for there."""
    discover_interval_ms: Annotated[int, Meta(ge=1000, le=24 * HOUR_MS)] = 5 * MINUTE_MS
    """How often that is asked again: new models are not urgent."""
    unsupported: Literal["refuse", "drop"] = "refuse"
    """What becomes of a parameter that the dialect has no word for: a 400 that names it, or the request goes
    on without it and the reply says so in `x-headgate-dropped`. Hints are dropped and told either way."""
    api_version: ApiVersion | None = None
    """A dated version of the API, for the dialect that has such; without one, its newest way of speaking."""
    bearer: bool = False
    """Send the key as `authorization: Bearer`, where the dialect has another header: an identity's token."""
    quirks: Quirks = Quirks()
    """How a server that speaks OpenAI's format departs from it; see `core.quirks`."""
    headers: dict[str, MaybeSecret] = {}
    """Extra request headers: strings, or references like `api_key`'s."""
    query: dict[str, MaybeSecret] = {}
    """Extra query parameters: strings, or references like `api_key`'s."""
    ca_file: File | None = None
    """PEM file of the authorities to trust instead of the system's: for a certificate of one's own making."""
    max_in_flight: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """Most requests at once; further ones wait in the queue, then go elsewhere or are refused with 429. No
    limit: a hosted service sets its own."""
    queue: Annotated[int, Meta(ge=0, le=100_000)] = 0
    """Requests that may wait for one of these places while no other target has room."""
    queue_timeout_ms: Milliseconds = 5_000
    """How long one may wait there: longer than a short answer takes, shorter than patience."""
    connect_timeout_ms: Milliseconds = 5_000
    """For name lookup, connection and TLS together: two lost packets are retried within 3 s."""
    first_byte_timeout_ms: Milliseconds = 600_000
    """From the request to the reply's head: a long answer that is not streamed takes minutes, and the
    official clients wait ten."""
    idle_timeout_ms: Milliseconds = 300_000
    """Between two bytes of a reply: models that reason may say nothing for minutes."""


class Engine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[[engine]]`: a model that the gate runs itself, in a process of its own."""

    name: Name
    """What clients write under `model`; also its name in the journal and logs."""
    kind: Literal["llamacpp", "embed", "speech", "transcribe", "image"] = "llamacpp"
    """The program that runs it; llama.cpp takes any GGUF."""
    model: FileOrFolder | None = None
    """The model's file (GGUF) or folder. Speech and transcription have small ones of their own."""
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z", description="64 hexadecimal digits")] | None = (
        None
    )
    """What an embedding model's weights must hash to; another file is not loaded."""
    mmproj: File | None = None
    """The file with its eyes (GGUF), for a model that understands pictures."""
    embeddings: bool = False
    """A GGUF that makes vectors instead of text: served as embeddings, and as nothing else."""
    slots: Annotated[int, Meta(ge=1, le=256)] = 4
    """Requests answered at once; each has a context of its own in memory."""
    context_tokens: Annotated[int, Meta(ge=64, le=16_777_216)] | None = None
    """Context of each slot in tokens. None takes the model's own, at most 8192, to bound its memory."""
    queue: Annotated[int, Meta(ge=0, le=100_000)] = 64
    """Requests that may wait for a slot; further ones are refused with 429 and a time to come back."""
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """CPU threads. None takes all cores but one: with every core busy, spinning threads cost most speed."""
    gpu_layers: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    """Layers to keep on a GPU. None takes all of them where there is one."""
    voices: dict[str, str] = {}
    """Names that clients may give to a speech engine's voices: `{ alloy = "af_alloy" }`."""
    memory_bytes: Annotated[int, Meta(ge=16_777_216, le=2**50)] | None = None
    """Resident memory above which the process is ended and started again. None trusts it; Linux only."""
    idle_ms: Milliseconds | None = None
    """Without a request for this long the process is ended, and its memory free; the next request starts it
    again. None keeps it."""
    eager: bool = False
    """Start with the gate, instead of with the first request."""
    start_timeout_ms: Milliseconds = 300_000
    """How long loading may take: tens of gigabytes from a slow disk need minutes."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole configuration."""

    server: Server = Server()
    journal: JournalSettings = JournalSettings()
    ledger: LedgerSettings = LedgerSettings()
    limits: LimitSettings = LimitSettings()
    prices: tuple[PriceSettings, ...] = msgspec.field(name="price", default=())
    """`[[price]]`: of several that fit equally well the last one counts."""
    log: Log = Log()
    metrics: Metrics = Metrics()
    telemetry: Telemetry = Telemetry()
    media: Media = Media()
    starter: Starter = Starter()
    upstreams: tuple[Upstream, ...] = msgspec.field(name="upstream", default=())
    """`[[upstream]]`, in the order of the file."""
    engines: tuple[Engine, ...] = msgspec.field(name="engine", default=())
    """`[[engine]]`, in the order of the file; then what `--model` added, then the starter."""
    named_models: tuple[NamedModel, ...] = msgspec.field(name="model", default=())
    """`[[model]]`, in the order of the file."""
    routing: Routing = Routing()
    health: Health = Health()
    aliases: dict[ModelName, ModelName] = {}
    """`[aliases]`: other names for models, listed like models of their own. The reply tells the real one."""

    def models(self) -> Mapping[str, tuple[ModelTarget, ...]]:
        """Every model that is served, without aliases, and where; a name with a `*` in it stands for many."""
        served: dict[str, tuple[ModelTarget, ...]] = {}
        for upstream in self.upstreams:
            for model in upstream.models:
                served[model.name] = (*served.get(model.name, ()), target_of(model, upstream.name))
        for engine in self.engines:
            target = ModelTarget(upstream=engine.name, model=engine.name)
            served[engine.name] = (*served.get(engine.name, ()), target)
        engines = {engine.name for engine in self.engines}
        for named in self.named_models:
            if named.targets:
                served[named.name] = tuple(_named(target, named.name, engines) for target in named.targets)
        return served


def _named(target: ModelTarget, name: str, engines: Container[str]) -> ModelTarget:
    model = target.model or (target.upstream if target.upstream in engines else name)
    return msgspec.structs.replace(target, model=model)
