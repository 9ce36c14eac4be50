#!/bin/sh
# The page's navigation with curl: one request for each entry. Ends at the first that is refused.
set -eu
url=${HEADGATE_URL:-http://127.0.0.1:8000}/v1
key=${HEADGATE_KEY:?set HEADGATE_KEY to a key of the gate}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

entry() { printf '\n== %s\n' "$1"; }
post() { # path, then what curl is to send
  path=$1
  shift
  curl --silent --show-error --fail-with-body --location "$url$path" \
    --header 'Accept: application/json' --header "Authorization: Bearer $key" "$@"
}
json() { # path, body
  post "$1" --header 'Content-Type: application/json' --data-raw "$2"
  echo
}

entry '创建语音 (speech): six formats'
for format in mp3 opus aac flac wav pcm; do
  post /audio/speech --header 'Content-Type: application/json' --output "$folder/speech.$format" --data-raw '{
    "model": "tts-1", "voice": "alloy", "response_format": "'$format'",
    "input": "The quick brown fox jumps over the lazy dog. 今天天气很好。"}'
  echo "$format: $(wc -c < "$folder/speech.$format") bytes"
done

entry '创建语音 (speech): as events'
json /audio/speech '{"model": "gpt-4o-mini-tts", "voice": "coral", "input": "Hello!", "speed": 1.2,
  "instructions": "Speak in a cheerful tone.", "stream_format": "sse"}' | cut -c 1-100

entry '创建转录 (transcription): five forms, then a stream'
for format in json text srt vtt verbose_json; do
  post /audio/transcriptions --form "file=@$folder/speech.mp3" --form model=whisper-1 --form "response_format=$format"
done
post /audio/transcriptions --form "file=@$folder/speech.wav" --form model=gpt-4o-transcribe --form stream=true

entry '创建翻译 (translation)'
post /audio/translations --form "file=@$folder/speech.flac" --form model=whisper-1

entry 'Chat Completions'
json /chat/completions '{"model": "gpt-4o", "messages": [
  {"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "Hello!"}]}'

entry 'Chat (流式返回, streamed)'
json /chat/completions '{"model": "gpt-3.5-turbo", "stream": true, "stream_options": {"include_usage": true},
  "messages": [{"role": "user", "content": "Hello!"}]}'

entry 'Chat (调用工具, tools)'
json /chat/completions '{"model": "gpt-4o", "tool_choice": "required",
  "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
  "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]}'

entry '自动补全 (completions)'
json /completions '{"model": "gpt-3.5-turbo-instruct", "prompt": "Hello", "max_tokens": 8, "echo": true, "n": 2}'
json /completions '{"model": "gpt-3.5-turbo-instruct", "prompt": ["Hello", "The"], "max_tokens": 4, "logprobs": 2}'
json /completions '{"model": "gpt-3.5-turbo-instruct", "prompt": "Hello", "max_tokens": 8, "stream": true}'

entry '嵌入 (embeddings)'
json /embeddings '{"model": "text-embedding-3-small", "input": "The food was delicious and the waiter ...",
  "encoding_format": "float", "dimensions": 8}'

entry '列出模型, 检索模型 (models)'
curl --silent --show-error --fail-with-body "$url/models" --header "Authorization: Bearer $key"
echo
curl --silent --show-error --fail-with-body "$url/models/gpt-4o" --header "Authorization: Bearer $key"
echo
