// What the official Node client sees of shunt. Usage: checks.mjs http://host:port
//
// Prints `ok NAME` or `fail NAME: why` for each check; before it, `billed {...}` for
// what must be billed. The site is the one of sdk_site_test.go. The package is
// loaded from $SHUNT_E2E_NODE_DIR.

import { deepStrictEqual, ok, strictEqual } from "node:assert";
import { createRequire } from "node:module";
import { join } from "node:path";

const OpenAI = createRequire(join(process.env.SHUNT_E2E_NODE_DIR, "package.json"))("openai");

const SITE = process.argv[2];
const MODEL = "acme/chat";
const messages = [{ role: "user", content: "hello" }];
const CHAT = { model: MODEL, messages };
const QUICK = "Hello from quick: 1 2 3 4 5";
const THRIFTY = "Hello from thrifty: 1 2 3 4 5";
const weather = {
  type: "function",
  function: {
    name: "weather",
    strict: true,
    parameters: {
      type: "object",
      properties: { from: { type: "string" } },
      required: ["from"],
      additionalProperties: false,
    },
  },
};

const at = (base) => new OpenAI({ baseURL: SITE + base, apiKey: "node", maxRetries: 0, timeout: 60_000 });
const client = at("/v1");

const billed = (want) => console.log("billed " + JSON.stringify(want));

async function all(stream) {
  const out = [];
  for await (const event of await stream) out.push(event);
  return out;
}

const assembled = (chunks) => chunks.flatMap((c) => c.choices.map((choice) => choice.delta.content ?? "")).join("");

// The provider is on the first event and on no other.
const namedOnce = (events) =>
  deepStrictEqual(events.map((e) => e.provider), ["quick", ...Array(events.length - 1).fill(undefined)]);

// The error of call, which must be of exactly this class: an APIConnectionError or
// APIConnectionTimeoutError is none of them.
async function raised(kind, call) {
  let error;
  try {
    await call();
  } catch (e) {
    error = e;
  }
  ok(error?.constructor === kind, `${error?.constructor.name ?? "nothing"} was thrown, want ${kind.name}: ${error}`);
  return error;
}

async function apiError(kind, status, code, param, call) {
  const error = await raised(kind, call);
  deepStrictEqual([error.status, error.code, error.param], [status, code, param]);
  ok(error.message && error.requestID);
  return error;
}

// shunt did not admit the request.
async function refused(...args) {
  const error = await apiError(...args);
  strictEqual(error.type, "invalid_request_error");
  billed({ id: error.requestID, status: "none" });
}

// Both providers did.
async function failed(kind, status, code, body) {
  const error = await apiError(kind, status, code, null, () => client.chat.completions.create({ messages, ...body }));
  strictEqual(error.headers.get("x-attempts"), "2");
  billed({ id: error.requestID, status: "failed", attempts: 2 });
  return error;
}

async function served(by, attempts, kind, body = {}, options = {}) {
  const { data, response, request_id } = await client.chat.completions.create({ ...CHAT, ...body }, options).withResponse();
  strictEqual(response.headers.get("x-provider"), by);
  strictEqual(response.headers.get("x-attempts"), String(attempts));
  strictEqual(data.provider, by);
  strictEqual(data.choices[0].message.content, `Hello from ${by}: 1 2 3 4 5`);
  billed({ id: request_id, status: "completed", kind, provider: by, attempts, usage: "reported" });
}

const checks = {
  async "chat"() {
    const completion = await client.chat.completions.create(CHAT);
    strictEqual(completion.choices[0].message.content, QUICK);
    strictEqual(completion.choices[0].finish_reason, "stop");
    strictEqual(completion.usage.completion_tokens, 8);
    strictEqual(completion.provider, "quick");
    billed({ id: completion._request_id, status: "completed", kind: "default", provider: "quick", attempts: 1, usage: "reported" });
  },

  async "chat-stream"() {
    const { data, request_id } = await client.chat.completions.create({ ...CHAT, stream: true }).withResponse();
    const chunks = await all(data);
    strictEqual(assembled(chunks), QUICK);
    strictEqual(chunks.at(-1).choices[0].finish_reason, "stop");
    deepStrictEqual(chunks.filter((c) => c.usage), []);
    deepStrictEqual(chunks.filter((c) => !c.choices.length), []);
    namedOnce(chunks);
    billed({ id: request_id, status: "completed", provider: "quick", usage: "reported" });
  },

  async "chat-stream-usage"() {
    const chunks = await all(client.chat.completions.create({ ...CHAT, stream: true, stream_options: { include_usage: true } }));
    strictEqual(assembled(chunks), QUICK);
    deepStrictEqual(chunks.flatMap((c, i) => (c.usage ? [i] : [])), [chunks.length - 1]);
    deepStrictEqual(chunks.at(-1).choices, []);
    strictEqual(chunks.at(-1).usage.completion_tokens, 8);
    namedOnce(chunks);
  },

  async "tools"() {
    const { choices } = await client.chat.completions.create({ ...CHAT, tools: [weather] });
    const [call] = choices[0].message.tool_calls;
    strictEqual(call.function.name, "weather");
    deepStrictEqual(JSON.parse(call.function.arguments), { from: "quick" });
    const seen = [];
    const runner = client.chat.completions.runTools({
      ...CHAT,
      tools: [{ type: "function", function: { ...weather.function, parse: JSON.parse, function: (a) => (seen.push(a), "sun") } }],
    });
    strictEqual(await runner.finalContent(), QUICK);
    deepStrictEqual(seen, [{ from: "quick" }]);
  },

  async "tools-stream"() {
    const stream = client.chat.completions.stream({ ...CHAT, tools: [weather] });
    const done = [];
    stream.on("tool_calls.function.arguments.done", (e) => done.push([e.name, e.arguments]));
    const final = await stream.finalChatCompletion();
    deepStrictEqual(done, [["weather", '{"from":"quick"}']]);
    strictEqual(final.choices[0].finish_reason, "tool_calls");
    deepStrictEqual(final.choices[0].message.tool_calls[0].function.parsed_arguments, { from: "quick" });
  },

  async "responses"() {
    const response = await client.responses.create({ model: MODEL, input: "hello" });
    strictEqual(response.output_text, QUICK);
    strictEqual(response.status, "completed");
    strictEqual(response.usage.output_tokens, 8);
    strictEqual(response.provider, "quick");
    billed({ id: response._request_id, status: "completed", provider: "quick", usage: "reported" });
  },

  async "responses-stream"() {
    const stream = client.responses.stream({ model: MODEL, input: "hello" });
    const events = await all(stream);
    strictEqual((await stream.finalResponse()).output_text, QUICK);
    deepStrictEqual(events.map((e) => e.type).filter((type) => type !== "response.output_text.delta"), [
      "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
      "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed",
    ]);
    deepStrictEqual(events.map((e) => e.sequence_number), [...events.keys()]);
    const raw = await all(client.responses.create({ model: MODEL, input: "hello", stream: true }));
    strictEqual(raw.map((e) => (e.type === "response.output_text.delta" ? e.delta : "")).join(""), QUICK);
    strictEqual(raw.at(-1).response.usage.output_tokens, 8);
    namedOnce(raw);
  },

  async "completions"() {
    const completion = await client.completions.create({ model: MODEL, prompt: "hello" });
    strictEqual(completion.choices[0].text, QUICK);
    strictEqual(completion.provider, "quick");
  },

  async "completions-stream"() {
    const chunks = await all(client.completions.create({ model: MODEL, prompt: "hello", stream: true }));
    strictEqual(chunks.map((c) => c.choices[0].text).join(""), QUICK);
    deepStrictEqual(chunks.filter((c) => c.usage), []);
    namedOnce(chunks);
  },

  async "models-list"() {
    const model = (await all(client.models.list())).find((m) => m.id === MODEL);
    strictEqual(model.object, "model");
    deepStrictEqual(model.providers.toSorted(), ["quick", "thrifty"]);
  },

  async "models-retrieve"() {
    const model = await client.models.retrieve(MODEL);
    strictEqual(model.id, MODEL);
    deepStrictEqual(model.providers.toSorted(), ["quick", "thrifty"]);
    await raised(OpenAI.NotFoundError, () => client.models.retrieve("acme/nothing"));
  },

  async "api-v1-base"() {
    const other = at("/api/v1");
    strictEqual((await other.chat.completions.create(CHAT)).choices[0].message.content, QUICK);
    strictEqual((await other.responses.create({ model: MODEL, input: "hello" })).output_text, QUICK);
    strictEqual((await other.models.retrieve(MODEL)).id, MODEL);
  },

  async "raw-response"() {
    const { data, response, request_id } = await client.chat.completions.create(CHAT).withResponse();
    strictEqual(response.headers.get("x-provider"), "quick");
    strictEqual(response.headers.get("x-attempts"), "1");
    ok(request_id);
    strictEqual(response.headers.get("x-request-id"), request_id);
    strictEqual(data._request_id, request_id);
    deepStrictEqual([...response.headers.keys()].filter((h) => /^x-(shunt|envoy)-/.test(h)), []);
    const streamed = await client.chat.completions.create({ ...CHAT, stream: true }).withResponse();
    strictEqual(streamed.response.headers.get("x-provider"), "quick");
    strictEqual(streamed.response.headers.get("x-attempts"), "1");
    ok(streamed.request_id);
    strictEqual(assembled(await all(streamed.data)), QUICK);
  },

  async "provider-object"() {
    await served("thrifty", 1, "explicit", { provider: { order: ["thrifty"], allow_fallbacks: false } });
    await served("thrifty", 1, "explicit", { provider: "thrifty" });
    await refused(OpenAI.BadRequestError, 400, "invalid_provider_object", "provider.max_price.prompt", () =>
      client.chat.completions.create({ ...CHAT, provider: { max_price: { prompt: "low" } } }));
  },

  async "provider-header"() {
    await served("thrifty", 1, "explicit", {}, { headers: { "X-Provider": "Thrifty" } });
  },

  async "model-suffix"() {
    await served("thrifty", 1, "suffix", { model: MODEL + ":floor" });
    await served("thrifty", 1, "explicit", { model: "thrifty/" + MODEL });
  },

  async "bad-request"() {
    for (const stream of [false, true]) {
      await refused(OpenAI.BadRequestError, 400, "provider_unknown_provider", "X-Provider", () =>
        client.chat.completions.create({ ...CHAT, stream }, { headers: { "X-Provider": "nobody" } }));
    }
    await refused(OpenAI.BadRequestError, 400, "provider_unknown_provider", "provider.only", () =>
      client.responses.create({ model: MODEL, input: "hello", provider: { only: ["nobody"] } }));
  },

  async "unknown-model"() {
    await refused(OpenAI.NotFoundError, 404, "model_not_found", "model", () =>
      client.chat.completions.create({ model: "acme/nothing", messages }));
  },

  async "rate-limit"() {
    const error = await failed(OpenAI.RateLimitError, 429, "rate_limit_exceeded", { model: "acme/limited" });
    strictEqual(error.type, "rate_limit_error");
  },

  async "provider-refused"() {
    const { message } = await failed(OpenAI.InternalServerError, 502, "provider_error", { model: "acme/refused" });
    ok(message.includes("thrifty") && !message.includes("API key"), message);
  },

  async "no-provider"() {
    for (const stream of [false, true]) {
      await failed(OpenAI.InternalServerError, 502, "all_providers_failed", { model: "acme/dead", stream });
    }
  },

  async "other-api"() {
    await refused(OpenAI.NotFoundError, 404, "not_found", null, () => client.embeddings.create({ model: MODEL, input: "hello" }));
    await refused(OpenAI.NotFoundError, 404, "not_found", null, () => client.responses.retrieve("resp_1"));
  },

  async "failover"() {
    await served("thrifty", 2, "default", { model: "acme/flaky" });
    const chunks = await all(client.chat.completions.create({ model: "acme/flaky", messages, stream: true }));
    strictEqual(assembled(chunks), THRIFTY);
    strictEqual(chunks[0].provider, "thrifty");
  },

  async "concurrent"() {
    const one = async (n) =>
      n % 2
        ? assembled(await all(client.chat.completions.create({ ...CHAT, stream: true })))
        : (await client.chat.completions.create(CHAT)).choices[0].message.content;
    deepStrictEqual(await Promise.all(Array.from({ length: 20 }, (_, n) => one(n))), Array(20).fill(QUICK));
  },

  async "stream-error"() {
    const stream = await client.chat.completions.create({ model: "acme/broken", messages, stream: true });
    const error = await raised(OpenAI.APIError, () => all(stream));
    strictEqual(error.code, "server_error");
  },

  async "stream-cut"() {
    const stream = await client.chat.completions.create({ model: "acme/cut", messages, stream: true });
    const seen = [];
    try {
      for await (const chunk of stream) seen.push(chunk);
    } catch (error) {
      strictEqual(assembled(seen), "Hello from");
      ok(error instanceof OpenAI.APIConnectionError || error instanceof TypeError, `${error.constructor.name}: ${error}`);
      return;
    }
    throw new Error("the broken stream looked complete");
  },

  async "abort"() {
    const request = { model: "acme/endless", messages, stream: true };
    const left = await client.chat.completions.create(request).withResponse();
    let seen = 0;
    for await (const _ of left.data) if (++seen === 5) break;
    billed({ id: left.request_id, status: "cancelled", provider: "quick", usage: "estimated" });

    const controller = new AbortController();
    const aborted = await client.chat.completions.create(request, { signal: controller.signal }).withResponse();
    for await (const _ of aborted.data) controller.abort();
    billed({ id: aborted.request_id, status: "cancelled", provider: "quick", usage: "estimated" });
  },

  async "timeout"() {
    await raised(OpenAI.APIConnectionTimeoutError, () =>
      client.chat.completions.create({ model: "hang-node", messages }, { timeout: 3000 }));
    billed({ requested_model: "hang-node", status: "cancelled" });
  },
};

for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log("ok " + name);
  } catch (error) {
    const lines = [...error.stack.matchAll(/checks\.mjs:(\d+)/g)].map((m) => m[1]).slice(0, -1);
    console.log(`fail ${name}: line ${lines.join(" from ")}: ${error.constructor.name}: ${error.message.replace(/\s+/g, " ")}`);
  }
}
process.exit(0); // whatever an aborted stream left open
