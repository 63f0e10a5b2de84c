"""The unmodified openai-python against a running `gratis demo`.

    gratis demo --json > demo.json &
    python run.py demo.json

Prints one line a case (the case, the result, the requests that arrived at Gratis) and "N passed, N failed".
Exit status 1 if a case failed.
"""

import asyncio
import json
import sys
import time
import urllib.request
from urllib.parse import urlsplit

import openai

from relay import Relay

CHAT = "POST /compatible-mode/v1/chat/completions"
MODELS = "GET /compatible-mode/v1/models"
REFUSED = "AllocationQuota.FreeTierOnly"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def say(text, tokens=20):
    """One user message; the demo's upstream answers with so many tokens."""
    return [{"role": "user", "content": f"{text} [[sim:answer={tokens}]]"}]


def get(url, token=None):
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=5) as response:
        return json.load(response)


class Run:
    """The cases, in the order in which they are written."""

    def __init__(self, demo):
        self.demo = demo
        address = urlsplit(demo["origin"])
        self.relay = Relay(address.hostname, address.port)
        self.base_url = self.relay.origin + urlsplit(demo["base_url"]).path
        self.client = openai.OpenAI(base_url=self.base_url, api_key=demo["api_key"])
        counted = sorted((m for m in demo["models"] if m["unit"] == "tokens"), key=lambda m: m["granted"])
        self.small, self.large = counted[0], counted[-1]
        self.model = self.large["model"]
        self.refused_at = None

    # -- what must work ---------------------------------------------------------------------------

    def models(self):
        listed = {model.id for model in self.client.models.list()}
        missing = {model["model"] for model in self.demo["models"]} - listed
        assert not missing, f"models.list() lacks {missing}"
        return [MODELS]

    def plain(self):
        reply = self.client.chat.completions.create(model=self.model, messages=say("hello", 12), max_tokens=400)
        assert reply.choices[0].message.content, reply
        assert reply.choices[0].finish_reason == "stop", reply
        assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens, reply.usage
        return [CHAT]

    def headers(self):
        raw = self.client.chat.completions.with_raw_response.create(
            model=self.model, messages=say("hello"), max_tokens=64
        )
        assert raw.headers["x-gratis-model"] == self.model, raw.headers
        assert raw.headers["x-gratis-billing"] == "free", raw.headers
        assert int(raw.headers["x-gratis-available"]) > 0, raw.headers
        assert int(raw.headers["x-gratis-held"]) > 0, raw.headers
        return [CHAT]

    def stream(self):
        text, finish = "", None
        for chunk in self.client.chat.completions.create(
            model=self.model, messages=say("hello"), stream=True, max_tokens=400
        ):
            assert chunk.usage is None, "usage was not asked for"
            assert len(chunk.choices) == 1, "the usage chunk must be hidden from who did not ask for it"
            text += chunk.choices[0].delta.content or ""
            finish = chunk.choices[0].finish_reason or finish
        assert text and finish == "stop", (text, finish)
        return [CHAT]

    def stream_with_usage(self):
        chunks = list(
            self.client.chat.completions.create(
                model=self.model,
                messages=say("hello"),
                stream=True,
                stream_options={"include_usage": True},
                max_tokens=400,
            )
        )
        assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens >= 20, chunks[-1]
        assert all(chunk.usage is None for chunk in chunks[:-1])
        return [CHAT]

    def asynchronous(self):
        async def calls():
            async with openai.AsyncOpenAI(base_url=self.base_url, api_key=self.demo["api_key"]) as client:
                create = client.chat.completions.create
                plain = [create(model=self.model, messages=say("hello"), max_tokens=200) for _ in range(3)]
                replies = await asyncio.gather(*plain)
                assert all(reply.usage.total_tokens > 0 for reply in replies)
                text = ""
                async for chunk in await create(
                    model=self.model, messages=say("hello"), stream=True, max_tokens=200
                ):
                    text += chunk.choices[0].delta.content or ""
                assert text

        asyncio.run(calls())
        return [CHAT] * 4

    def tools(self):
        messages = say("What does get_weather say of Hangzhou?")
        first = self.client.chat.completions.create(
            model=self.model, messages=messages, tools=[WEATHER], max_tokens=400
        )
        call = first.choices[0].message.tool_calls[0]
        assert first.choices[0].finish_reason == "tool_calls", first
        assert call.function.name == "get_weather" and "city" in json.loads(call.function.arguments), call
        messages += [
            first.choices[0].message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": '{"celsius": 21}'},
        ]
        second = self.client.chat.completions.create(model=self.model, messages=messages, max_tokens=400)
        assert second.usage.total_tokens > 0, second
        return [CHAT] * 2

    def tools_streamed(self):
        arguments = ""
        for chunk in self.client.chat.completions.create(
            model=self.model,
            messages=say("What does get_weather say of Hangzhou?"),
            tools=[WEATHER],
            stream=True,
            max_tokens=400,
        ):
            for call in chunk.choices[0].delta.tool_calls or []:
                arguments += call.function.arguments or ""
        assert "city" in json.loads(arguments), arguments
        return [CHAT]

    def several_choices(self):
        reply = self.client.chat.completions.create(
            model=self.model, messages=say("hello"), n=3, max_tokens=200
        )
        assert sorted(choice.index for choice in reply.choices) == [0, 1, 2], reply
        return [CHAT]

    def left_early(self):
        stream = self.client.chat.completions.create(
            model=self.model, messages=say("a long story", 300), stream=True, max_tokens=400
        )
        for _ in stream:
            break
        stream.close()
        return [CHAT]

    # -- what must be refused, and in one request -------------------------------------------------

    def wrong_key(self):
        client = openai.OpenAI(base_url=self.base_url, api_key="sk-gratis-wrong")
        error = self.fails(openai.AuthenticationError, client, self.model)
        assert error.status_code == 401 and error.code == "invalid_api_key", error
        return [CHAT]

    def unknown_model(self):
        error = self.fails(openai.NotFoundError, self.client, "no-such-model")
        assert error.status_code == 404 and error.code == "model_not_found", error
        return [CHAT]

    def until_used_up(self):
        """Calls the model with the smallest grant until its quota ends; that call is the last request of this case."""
        calls = 0
        while self.refused_at is None:
            calls += 1
            assert calls <= 2_000, "2,000 calls did not use the quota up"
            try:
                if calls % 2:
                    self.call(self.client, self.small["model"], tokens=200)
                else:
                    list(self.call(self.client, self.small["model"], tokens=200, stream=True))
            except openai.PermissionDeniedError as error:
                self.is_refusal(error)
                self.refused_at = calls
        assert calls > 1, "not one call was admitted"
        return [CHAT] * calls

    def refused(self):
        self.is_refusal(self.fails(openai.PermissionDeniedError, self.client, self.small["model"]))
        return [CHAT]

    def refused_streamed(self):
        self.is_refusal(self.fails(openai.PermissionDeniedError, self.client, self.small["model"], stream=True))
        return [CHAT]

    def refused_asynchronous(self):
        async def call():
            async with openai.AsyncOpenAI(base_url=self.base_url, api_key=self.demo["api_key"]) as client:
                await self.call(client, self.small["model"])

        try:
            asyncio.run(call())
        except openai.PermissionDeniedError as error:
            self.is_refusal(error)
        else:
            raise AssertionError("the call was admitted")
        return [CHAT]

    def other_model_goes_on(self):
        reply = self.call(self.client, self.model)
        assert reply.usage.total_tokens > 0
        return [CHAT]

    # -- the books --------------------------------------------------------------------------------

    def books(self):
        """What the simulator charged is what Gratis spent, and never more than was granted."""
        deadline = time.monotonic() + 30
        while True:
            balances = get(self.demo["admin_url"] + "/admin/v1/balances", self.demo["admin_token"])["balances"]
            if all(row["held"] == 0 for row in balances):
                break
            assert time.monotonic() < deadline, f"still held: {[row for row in balances if row['held']]}"
            time.sleep(0.1)
        charged = get(self.demo["simulator_url"] + "/ledger")["models"]
        for model in self.demo["models"]:
            rows = [row for row in balances if (row.get("model") or row["pool"]) == model["model"]]
            truth = charged.get(model["model"], {"charged": 0})["charged"]
            spent, presumed = (sum(row[name] for row in rows) for name in ("spent", "presumed"))
            assert rows, f"no balance of {model['model']}"
            assert (truth, 0) == (spent, presumed), f"{model}: charged {truth}, spent {spent}, presumed {presumed}"
            assert truth <= model["granted"], f"{model}: charged {truth}"
        assert charged[self.small["model"]]["charged"] > 0 and charged[self.model]["charged"] > 0, charged
        return []

    # -- helpers ----------------------------------------------------------------------------------

    @staticmethod
    def call(client, model, tokens=20, **more):
        return client.chat.completions.create(model=model, messages=say("hello", tokens), **more)

    def fails(self, kind, client, model, **more):
        try:
            reply = self.call(client, model, **more)
        except kind as error:
            return error
        raise AssertionError(f"the call was admitted: {reply}")

    @staticmethod
    def is_refusal(error):
        assert type(error) is openai.PermissionDeniedError, type(error)
        assert error.status_code == 403, error.status_code
        assert error.code == REFUSED and error.body["code"] == REFUSED, error.body
        assert error.response.headers["x-should-retry"] == "false", error.response.headers
        assert error.response.headers["x-gratis-error-source"] == "gratis", error.response.headers

    CASES = (
        models, plain, headers, stream, stream_with_usage, asynchronous, tools, tools_streamed, several_choices,
        left_early, wrong_key, unknown_model, until_used_up, refused, refused_streamed, refused_asynchronous,
        other_model_goes_on, books,
    )  # fmt: skip

    def all(self):
        failed = 0
        print(f"openai-python {openai.__version__}, Python {sys.version.split()[0]}", flush=True)
        for case in self.CASES:
            self.relay.take()
            try:
                expected = case(self)
                arrived = self.relay.take()
                assert arrived == expected, f"requests that arrived: {arrived}, expected: {expected}"
                result = "ok"
            except Exception as error:  # every failure is a line of the table
                arrived = self.relay.take()
                failed += 1
                result = f"FAILED {type(error).__name__}: {error}"
            print(f"{case.__name__.replace('_', ' '):<22} {len(arrived):>4} requests  {result}", flush=True)
        print(f"{len(self.CASES) - failed} passed, {failed} failed", flush=True)
        return 1 if failed else 0


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        sys.exit(Run(json.loads(file.readline())).all())
