"""The one table of what we serve. Routes, scopes, checks and documents are all derived from its rows.

A row names its request type, which lives in `core`. It must not know who handles it.
"""

from __future__ import annotations

from headgate.core.chat import ChatRequest
from headgate.core.completion import CompletionRequest
from headgate.core.embedding import EmbeddingRequest
from headgate.core.endpoint import Endpoint
from headgate.core.envelope import messages_error, responses_event
from headgate.core.image import (
    EDIT_UPLOADS,
    VARIATION_UPLOADS,
    ImageEditRequest,
    ImageRequest,
    ImageVariationRequest,
)
from headgate.core.passing import MessagesRequest, ModerationRequest, RerankRequest, ResponsesRequest
from headgate.core.speech import SpeechRequest
from headgate.core.transcription import UPLOADS, TranscriptionRequest, TranslationRequest
from headgate.dialects.forwarded import MESSAGES_HEADERS

MEBIBYTE = 1024 * 1024

# OpenAI takes up to 50 MB of pictures in one request; as base64 that is 67 MB, and the rest is room for text.
CHAT_BODY_LIMIT_BYTES = 72 * MEBIBYTE

CHAT_COMPLETIONS = Endpoint(
    name="chat.completions",
    method="POST",
    path="/v1/chat/completions",
    scope="chat.completions",
    summary="Answer a conversation, whole or as a stream.",
    capability="chat",
    request=ChatRequest,
    body_limit_bytes=CHAT_BODY_LIMIT_BYTES,
    streams=True,
)

# The largest contexts are some million tokens: eight megabytes of text, twice that as numbers.
COMPLETIONS_BODY_LIMIT_BYTES = 32 * MEBIBYTE

COMPLETIONS = Endpoint(
    name="completions",
    method="POST",
    path="/v1/completions",
    scope="completions",
    summary="Go on with a text, whole or as a stream.",
    capability="completions",
    request=CompletionRequest,
    body_limit_bytes=COMPLETIONS_BODY_LIMIT_BYTES,
    streams=True,
)

# OpenAI takes 300,000 tokens in a request; the longest words of any vocabulary would not fill this.
EMBEDDINGS_BODY_LIMIT_BYTES = 16 * MEBIBYTE

EMBEDDINGS = Endpoint(
    name="embeddings",
    method="POST",
    path="/v1/embeddings",
    scope="embeddings",
    summary="Turn texts into vectors.",
    capability="embeddings",
    request=EmbeddingRequest,
    body_limit_bytes=EMBEDDINGS_BODY_LIMIT_BYTES,
)

# 4,096 characters twice, each of them escaped.
SPEECH_BODY_LIMIT_BYTES = MEBIBYTE

SPEECH = Endpoint(
    name="audio.speech",
    method="POST",
    path="/v1/audio/speech",
    scope="audio.speech",
    summary="Read a text aloud.",
    capability="speech",
    request=SpeechRequest,
    body_limit_bytes=SPEECH_BODY_LIMIT_BYTES,
    binary=True,
    streams=True,
)

# OpenAI takes 25 MB of audio, whatever megabytes these are; the rest is room for fields and boundaries.
AUDIO_BODY_LIMIT_BYTES = 27 * MEBIBYTE

TRANSCRIPTIONS = Endpoint(
    name="audio.transcriptions",
    method="POST",
    path="/v1/audio/transcriptions",
    scope="audio.transcriptions",
    summary="Write down what is said.",
    capability="transcription",
    request=TranscriptionRequest,
    body_limit_bytes=AUDIO_BODY_LIMIT_BYTES,
    uploads=UPLOADS,
    binary=True,
    streams=True,
)

TRANSLATIONS = Endpoint(
    name="audio.translations",
    method="POST",
    path="/v1/audio/translations",
    scope="audio.translations",
    summary="Write down in English what is said.",
    capability="translation",
    request=TranslationRequest,
    body_limit_bytes=AUDIO_BODY_LIMIT_BYTES,
    uploads=UPLOADS,
    binary=True,
)

GENERATIONS_BODY_LIMIT_BYTES = MEBIBYTE  # 32,000 characters, each of them escaped, several times over

IMAGES_GENERATIONS = Endpoint(
    name="images.generations",
    method="POST",
    path="/v1/images/generations",
    scope="images.generations",
    summary="Draw pictures from words.",
    capability="images",
    request=ImageRequest,
    body_limit_bytes=GENERATIONS_BODY_LIMIT_BYTES,
    streams=True,
)

# OpenAI takes 16 pictures of 50 MB each; nobody sends them, and 200 MB is what one request may cost here.
UPLOADS_BODY_LIMIT_BYTES = 200 * MEBIBYTE

IMAGES_EDITS = Endpoint(
    name="images.edits",
    method="POST",
    path="/v1/images/edits",
    scope="images.edits",
    summary="Change one picture or several as words say.",
    capability="images",
    request=ImageEditRequest,
    body_limit_bytes=UPLOADS_BODY_LIMIT_BYTES,
    uploads=EDIT_UPLOADS,
    streams=True,
)

IMAGES_VARIATIONS = Endpoint(
    name="images.variations",
    method="POST",
    path="/v1/images/variations",
    scope="images.variations",
    summary="Draw pictures like one that is given.",
    capability="images",
    request=ImageVariationRequest,
    body_limit_bytes=UPLOADS_BODY_LIMIT_BYTES,
    uploads=VARIATION_UPLOADS,
)

# As much as a chat: the same conversations, written another way.
RESPONSES = Endpoint(
    name="responses",
    method="POST",
    path="/v1/responses",
    scope="responses",
    summary="Answer in OpenAI's newer format, from upstreams that have it.",
    capability="responses",
    request=ResponsesRequest,
    body_limit_bytes=CHAT_BODY_LIMIT_BYTES,
    streams=True,
    typed_events=True,
    error_event=responses_event,
)

MESSAGES = Endpoint(
    name="messages",
    method="POST",
    path="/v1/messages",
    scope="messages",
    summary="Answer in the format of Messages, from upstreams that have it.",
    capability="messages",
    request=MessagesRequest,
    body_limit_bytes=CHAT_BODY_LIMIT_BYTES,
    streams=True,
    typed_events=True,
    error_body=messages_error,
    error_event=messages_error,
    key_header=b"x-api-key",
    forwards=MESSAGES_HEADERS,
)

# Pictures may be moderated too.
MODERATIONS = Endpoint(
    name="moderations",
    method="POST",
    path="/v1/moderations",
    scope="moderations",
    summary="Judge texts and pictures, by upstreams that do.",
    capability="moderations",
    request=ModerationRequest,
    body_limit_bytes=CHAT_BODY_LIMIT_BYTES,
)

# A thousand documents of several pages each.
RERANK_BODY_LIMIT_BYTES = 16 * MEBIBYTE

RERANK = Endpoint(
    name="rerank",
    method="POST",
    path="/v1/rerank",
    scope="rerank",
    summary="Put documents in the order in which they answer a question, by upstreams that do.",
    capability="rerank",
    request=RerankRequest,
    body_limit_bytes=RERANK_BODY_LIMIT_BYTES,
)

MODELS_LIST = Endpoint(
    name="models.list",
    method="GET",
    path="/v1/models",
    scope="models",
    summary="List the models that the key may use.",
)

MODELS_RETRIEVE = Endpoint(
    name="models.retrieve",
    method="GET",
    path="/v1/models/{id}",
    scope="models",
    summary="Describe one model; its id may contain slashes.",
)

ENDPOINTS: tuple[Endpoint, ...] = (
    CHAT_COMPLETIONS,
    COMPLETIONS,
    EMBEDDINGS,
    SPEECH,
    TRANSCRIPTIONS,
    TRANSLATIONS,
    RESPONSES,
    MESSAGES,
    MODERATIONS,
    RERANK,
    IMAGES_GENERATIONS,
    IMAGES_EDITS,
    IMAGES_VARIATIONS,
    MODELS_LIST,
    MODELS_RETRIEVE,
)
"""Every endpoint, in the order in which the documents list them."""
