// The unmodified openai-node against a running `gratis demo`.
//
//     gratis demo --json > demo.json &
//     node run.mjs demo.json
//
// Prints one line a case (the case, the result, the requests that arrived at Gratis) and "N passed, N failed".
// Exit status 1 if a case failed.

import assert from "node:assert/strict";
import fs from "node:fs";
import OpenAI from "openai";
import { VERSION } from "openai/version";
import { Relay } from "./relay.mjs";

const CHAT = "POST /compatible-mode/v1/chat/completions";
const MODELS = "GET /compatible-mode/v1/models";
const REFUSED = "AllocationQuota.FreeTierOnly";
const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather of a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

const demo = JSON.parse(fs.readFileSync(process.argv[2], "utf8").split("\n")[0]);
const counted = demo.models.filter((m) => m.unit === "tokens").sort((a, b) => a.granted - b.granted);
const small = counted[0].model;
const model = counted.at(-1).model;
const address = new URL(demo.origin);
const relay = await Relay.start(address.hostname, Number(address.port));
const baseURL = relay.origin + new URL(demo.base_url).pathname;
const client = new OpenAI({ baseURL, apiKey: demo.api_key });

/** One user message; the demo's upstream answers with so many tokens. */
const say = (text, tokens = 20) => [{ role: "user", content: `${text} [[sim:answer=${tokens}]]` }];

const create = (more, from = client) =>
  from.chat.completions.create({ model, messages: say("hello"), max_tokens: 400, ...more });

async function all(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

async function get(url, token) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const response = await fetch(url, { headers, signal: AbortSignal.timeout(5_000) });
  assert.equal(response.status, 200, `${url}: ${response.status}`);
  return response.json();
}

async function fails(kind, call) {
  const error = await call.then(() => assert.fail("the call was admitted"), (error) => error);
  assert.equal(error.constructor, kind, `${error.constructor.name}: ${error.message}`);
  return error;
}

function isRefusal(error) {
  assert.equal(error.constructor, OpenAI.PermissionDeniedError, `${error.constructor.name}: ${error.message}`);
  assert.equal(error.status, 403);
  assert.equal(error.code, REFUSED);
  assert.equal(error.error.code, REFUSED);
  assert.equal(error.headers.get("x-should-retry"), "false");
  assert.equal(error.headers.get("x-gratis-error-source"), "gratis");
}

// Each case gives back the requests that must have arrived.
const cases = {
  async models() {
    const listed = new Set();
    for await (const found of client.models.list()) listed.add(found.id);
    for (const { model } of demo.models) assert(listed.has(model), `models.list() lacks ${model}`);
    return [MODELS];
  },

  async plain() {
    const reply = await create({ messages: say("hello", 12) });
    assert(reply.choices[0].message.content);
    assert.equal(reply.choices[0].finish_reason, "stop");
    assert.equal(reply.usage.total_tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens);
    return [CHAT];
  },

  async headers() {
    const { response } = await create({ max_tokens: 64 }).withResponse();
    assert.equal(response.headers.get("x-gratis-model"), model);
    assert.equal(response.headers.get("x-gratis-billing"), "free");
    assert(Number(response.headers.get("x-gratis-available")) > 0);
    assert(Number(response.headers.get("x-gratis-held")) > 0);
    return [CHAT];
  },

  async stream() {
    const chunks = await all(await create({ stream: true }));
    assert(chunks.every((chunk) => !chunk.usage), "usage was not asked for");
    assert(chunks.every((chunk) => chunk.choices.length === 1), "the usage chunk must stay hidden from who did not ask");
    assert(chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join(""));
    assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
    return [CHAT];
  },

  async "stream with usage"() {
    const chunks = await all(await create({ stream: true, stream_options: { include_usage: true } }));
    const last = chunks.pop();
    assert.deepEqual(last.choices, []);
    assert(last.usage.completion_tokens >= 20, JSON.stringify(last));
    assert(chunks.every((chunk) => !chunk.usage));
    return [CHAT];
  },

  async concurrent() {
    const replies = await Promise.all([1, 2, 3].map(() => create({ max_tokens: 200 })));
    assert(replies.every((reply) => reply.usage.total_tokens > 0));
    return [CHAT, CHAT, CHAT];
  },

  async "stream helper"() {
    const runner = client.chat.completions.stream({ model, messages: say("hello"), max_tokens: 400 });
    assert(await runner.finalContent());
    return [CHAT];
  },

  async tools() {
    const messages = say("What does get_weather say of Hangzhou?");
    const first = await create({ messages, tools: [WEATHER] });
    const [call] = first.choices[0].message.tool_calls;
    assert.equal(first.choices[0].finish_reason, "tool_calls");
    assert.equal(call.function.name, "get_weather");
    assert("city" in JSON.parse(call.function.arguments));
    messages.push(first.choices[0].message, { role: "tool", tool_call_id: call.id, content: '{"celsius": 21}' });
    const second = await create({ messages });
    assert(second.usage.total_tokens > 0);
    return [CHAT, CHAT];
  },

  async "tools streamed"() {
    const messages = say("What does get_weather say of Hangzhou?");
    const chunks = await all(await create({ messages, tools: [WEATHER], stream: true }));
    const calls = chunks.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? []);
    assert("city" in JSON.parse(calls.map((call) => call.function.arguments ?? "").join("")));
    return [CHAT];
  },

  async "several choices"() {
    const reply = await create({ n: 3, max_tokens: 200 });
    assert.deepEqual(reply.choices.map((choice) => choice.index).sort(), [0, 1, 2]);
    return [CHAT];
  },

  async "left early"() {
    const stream = await create({ messages: say("a long story", 300), stream: true });
    for await (const _ of stream) break;
    return [CHAT];
  },

  async aborted() {
    const abort = new AbortController();
    const stream = await client.chat.completions.create(
      { model, messages: say("a long story", 300), stream: true, max_tokens: 400 },
      { signal: abort.signal },
    );
    for await (const _ of stream) abort.abort();
    return [CHAT];
  },

  async "wrong key"() {
    const other = new OpenAI({ baseURL, apiKey: "sk-gratis-wrong" });
    const error = await fails(OpenAI.AuthenticationError, create({}, other));
    assert.equal(error.status, 401);
    assert.equal(error.code, "invalid_api_key");
    return [CHAT];
  },

  async "unknown model"() {
    const error = await fails(OpenAI.NotFoundError, create({ model: "no-such-model" }));
    assert.equal(error.code, "model_not_found");
    return [CHAT];
  },

  /** Calls the model with the smallest grant until its quota ends; that call is the last request of this case. */
  async "until used up"() {
    const arrived = [];
    for (;;) {
      arrived.push(CHAT);
      assert(arrived.length <= 2_000, "2,000 calls did not use the quota up");
      const stream = arrived.length % 2 === 0;
      try {
        const reply = await create({ model: small, messages: say("hello", 200), max_tokens: undefined, stream });
        if (stream) await all(reply);
      } catch (error) {
        isRefusal(error);
        assert(arrived.length > 1, "not one call was admitted");
        return arrived;
      }
    }
  },

  async refused() {
    isRefusal(await fails(OpenAI.PermissionDeniedError, create({ model: small })));
    return [CHAT];
  },

  async "refused streamed"() {
    isRefusal(await fails(OpenAI.PermissionDeniedError, create({ model: small, stream: true })));
    return [CHAT];
  },

  async "other model goes on"() {
    assert((await create()).usage.total_tokens > 0);
    return [CHAT];
  },

  /** What the simulator charged is what Gratis spent, and never more than was granted. */
  async books() {
    const deadline = Date.now() + 30_000;
    let balances;
    for (;;) {
      ({ balances } = await get(`${demo.admin_url}/admin/v1/balances`, demo.admin_token));
      const held = balances.filter((row) => row.held !== 0);
      if (held.length === 0) break;
      assert(Date.now() < deadline, `still held: ${JSON.stringify(held)}`);
      await new Promise((again) => setTimeout(again, 100));
    }
    const { models: charges } = await get(`${demo.simulator_url}/ledger`);
    for (const { model: code, granted } of demo.models) {
      const rows = balances.filter((row) => (row.model ?? row.pool) === code);
      const sum = (name) => rows.reduce((total, row) => total + row[name], 0);
      const charged = charges[code]?.charged ?? 0;
      assert(rows.length > 0, `no balance of ${code}`);
      assert.deepEqual({ spent: sum("spent"), presumed: sum("presumed") }, { spent: charged, presumed: 0 }, code);
      assert(charged <= granted, `${code}: charged ${charged} of ${granted}`);
    }
    assert(charges[small].charged > 0 && charges[model].charged > 0);
    return [];
  },
};

let failed = 0;
console.log(`openai-node ${VERSION}, Node ${process.version}`);
for (const [name, run] of Object.entries(cases)) {
  relay.take();
  let arrived;
  let result = "ok";
  try {
    const expected = await run();
    arrived = relay.take();
    assert.deepEqual(arrived, expected, `arrived: ${JSON.stringify(arrived)}, expected: ${JSON.stringify(expected)}`);
  } catch (error) {
    arrived ??= relay.take();
    failed += 1;
    result = `FAILED ${error.constructor.name}: ${error.message}`;
  }
  console.log(`${name.padEnd(22)} ${String(arrived.length).padStart(4)} requests  ${result}`);
}
console.log(`${Object.keys(cases).length - failed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
