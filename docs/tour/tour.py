"""The page's navigation with the official SDK: one call for each entry. Ends at the first that is refused."""

import os
import tempfile
from pathlib import Path

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("HEADGATE_URL", "http://127.0.0.1:8000") + "/v1",
    api_key=os.environ["HEADGATE_KEY"],
)


def entry(title: str) -> None:
    print(f"\n== {title}")


def cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


with tempfile.TemporaryDirectory() as folder:
    sound = Path(folder, "speech.mp3")

    entry("创建语音 (speech)")
    with client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts",
        voice="alloy",
        input="The quick brown fox jumps over the lazy dog.",
        instructions="Speak calmly.",
    ) as speech:
        speech.stream_to_file(sound)
    print(sound.stat().st_size, "bytes")

    entry("创建转录 (transcription)")
    with sound.open("rb") as file:
        print(client.audio.transcriptions.create(model="whisper-1", file=file).text)
    with sound.open("rb") as file:
        verbose = client.audio.transcriptions.create(
            model="whisper-1",
            file=file,
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
        )
    print(verbose.language, verbose.duration, verbose.words, verbose.segments)
    with sound.open("rb") as file:
        for event in client.audio.transcriptions.create(model="gpt-4o-transcribe", file=file, stream=True):
            print(event.type)

    entry("创建翻译 (translation)")
    with sound.open("rb") as file:
        print(client.audio.translations.create(model="whisper-1", file=file).text)

entry("Chat Completions")
answer = client.chat.completions.create(
    model="gpt-4o", messages=[{"role": "user", "content": "What is the capital of France?"}]
)
print(answer.model, answer.choices[0].message.content, answer.usage)

entry("Chat (流式返回, streamed)")
for chunk in client.chat.completions.create(
    model="gpt-4o", messages=[{"role": "user", "content": "Hello!"}], stream=True
):
    print(chunk.choices[0].delta.content or "", end="")
print()

entry("Chat (调用工具, tools)")
called = client.chat.completions.create(
    model="gpt-4o",
    messages=[{"role": "user", "content": "What is the weather in Paris?"}],
    tools=[
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "parameters": {
                    "type": "object",
                    "properties": {"city": {"type": "string"}},
                    "required": ["city"],
                },
            },
        }
    ],
    tool_choice="required",
)
print(called.choices[0].message.tool_calls)

entry("自动补全 (completions)")
completion = client.completions.create(
    model="gpt-3.5-turbo-instruct", prompt="Hello", max_tokens=8, n=2, best_of=3, logprobs=1
)
for choice in completion.choices:
    print(repr(choice.text), choice.logprobs.token_logprobs if choice.logprobs else None)

entry("嵌入 (embeddings)")
texts = ["A cat sits on the mat.", "The kitten rests on a rug.", "Interest rates rose again last quarter."]
first, paraphrase, stranger = (
    one.embedding for one in client.embeddings.create(model="text-embedding-3-small", input=texts).data
)
print(f"paraphrase {cosine(first, paraphrase):.2f}, stranger {cosine(first, stranger):.2f}")
assert cosine(first, paraphrase) > cosine(first, stranger) + 0.2

entry("列出模型, 检索模型 (models)")
print([model.id for model in client.models.list()])
print(client.models.retrieve("gpt-4o"))
