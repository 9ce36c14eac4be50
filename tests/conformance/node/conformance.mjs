// OpenAI's Node SDK, unchanged, against the gate that HEADGATE_URL and HEADGATE_KEY name.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.env.HEADGATE_URL}/v1`, apiKey: process.env.HEADGATE_KEY, maxRetries: 0 });
const model = "gpt-4o";
const messages = [
  { role: "system", content: "You are a helpful assistant." },
  { role: "user", content: "Hello!" },
];
const tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];

const whole = await client.chat.completions.create({ model, messages, temperature: 0 });
assert.equal(whole.model, "starter-chat");
assert.ok(whole.choices[0].message.content);
assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens);

let text = "";
let usage = null;
const stream = await client.chat.completions.create({
  model, messages, temperature: 0, stream: true, stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(text, whole.choices[0].message.content);
assert.equal(usage.completion_tokens, whole.usage.completion_tokens);

const runner = client.chat.completions.stream({ model, messages, temperature: 0 });
assert.equal((await runner.finalChatCompletion()).choices[0].message.content, text);

const question = [{ role: "user", content: "What's the weather in Paris?" }];
const called = await client.chat.completions.create({ model, messages: question, tools, tool_choice: "required", temperature: 0 });
const [call] = called.choices[0].message.tool_calls;
assert.equal(call.function.name, "get_weather");
assert.equal(typeof JSON.parse(call.function.arguments).city, "string");

const ids = [];
for await (const listed of client.models.list()) ids.push(listed.id);
assert.ok(ids.includes("starter-chat"));

await assert.rejects(client.chat.completions.create({ model, messages, n: 0 }), (error) =>
  error instanceof OpenAI.BadRequestError && error.param === "n" && error.code === "integer_below_min_value");

const abort = new AbortController();
const broken = await client.chat.completions.create({ model, messages, stream: true }, { signal: abort.signal });
for await (const _ of broken) abort.abort();

console.log("conformance: all held");
