"""Unmodified SDKs, with the calls beside OpenAI's chat, against a running `gratis demo`.

    gratis demo --json --grant ... > demo.json &
    python dialects.py demo.json

Walks every client through plain, streamed, aborted and three refusals (quota, overdue, key) and prints a table: client, case,
the requests that arrived at Gratis, the result; then "N passed, N failed". Exit status 1 if a case failed.
"""

import json
import logging
import sys
import time
import urllib.request
from urllib.parse import urlsplit

import anthropic
import dashscope
import openai
from dashscope.audio.qwen_tts import SpeechSynthesizer
from dashscope.common.error import InvalidTask
from dashscope.v2 import DashScopeError
from langchain_community.chat_models import ChatTongyi

import qwen_code
from relay import Relay

REFUSED = "AllocationQuota.FreeTierOnly"
HELLO = [{"role": "user", "content": "hello [[sim:answer=40]]"}]
PARTS = [{"role": "user", "content": [{"text": "hello [[sim:answer=40]]"}]}]
SOUND = [{"role": "user", "content": [{"audio": "https://example.com/a.mp3"}]}]
# ChatTongyi repeats what fails, also what cannot succeed; nothing in a reply stops it. So often it may try.
TRIES = 2


class Refused(Exception):
    """What a client made of a refusal."""

    def __init__(self, status, code):
        super().__init__(f"{status} {code}")
        self.status, self.code = status, code


class Client:
    """One client: how it calls, and whether it can stream."""

    streams = True
    # Requests of a plain call, and of one that the quota refuses.
    plain_requests = quota_requests = 1
    # How a refusal for the account's state and for the key is told, as (status, code).
    overdue, wrong_key = (400, "Arrearage"), (401, "InvalidApiKey")

    def __init__(self, name, model, small):
        self.name, self.model, self.small = name, model, small


class Anthropic(Client):
    wrong_key = (401, "authentication_error")

    def client(self, origin, key):
        return anthropic.Anthropic(base_url=origin + "/apps/anthropic", **{self.credential: key})

    credential = "api_key"

    def call(self, origin, key, model, stream):
        client = self.client(origin, key)
        try:
            if stream:
                with client.messages.stream(model=model, max_tokens=400, messages=HELLO) as events:
                    yield from events.text_stream
                return
            reply = client.messages.create(model=model, max_tokens=400, messages=HELLO)
            assert reply.usage.output_tokens > 0, reply
            yield reply.content[0].text
        except anthropic.APIStatusError as error:
            assert error.response.headers["x-should-retry"] == "false", error.response.headers
            code = error.body["error"].get("code")
            raise Refused(error.status_code, error.type if code == "invalid_api_key" else code) from error


class AnthropicBearer(Anthropic):
    credential = "auth_token"


class OpenAi(Client):
    """The other calls of the OpenAI family."""

    wrong_key = (401, "invalid_api_key")

    def __init__(self, name, model, small, make, streams=True):
        super().__init__(name, model, small)
        self.make, self.streams = make, streams

    def call(self, origin, key, model, stream):
        client = openai.OpenAI(base_url=origin + "/compatible-mode/v1", api_key=key)
        try:
            yield from self.make(client, model, stream)
        except openai.APIStatusError as error:
            assert error.response.headers["x-should-retry"] == "false", error.response.headers
            raise Refused(error.status_code, error.code) from error


class OpenAiTwice(OpenAi):
    """Its plain call goes on from its own reply."""

    plain_requests = 2


def completions(client, model, stream):
    how = {"model": model, "prompt": "hello [[sim:answer=40]]", "max_tokens": 400}
    if stream:
        for chunk in client.completions.create(stream=True, **how):
            assert chunk.choices, "the usage chunk must be hidden from who did not ask for it"
            yield chunk.choices[0].text
        return
    reply = client.completions.create(**how)
    assert reply.usage.completion_tokens == 40, reply
    yield reply.choices[0].text


def responses(client, model, stream):
    how = {"model": model, "input": "hello [[sim:answer=40]]", "max_output_tokens": 400}
    if stream:
        done = None
        for event in client.responses.create(stream=True, **how):
            if event.type == "response.output_text.delta":
                yield event.delta
            done = event
        assert done.type == "response.completed" and done.response.usage.output_tokens == 40, done
        return
    reply = client.responses.create(**how)
    again = client.responses.with_raw_response.create(previous_response_id=reply.id, **how)
    assert again.headers["x-gratis-model"] == model, again.headers
    yield reply.output_text


def embeddings(client, model, _):
    reply = client.embeddings.create(model=model, input=["one text", "and another one"])
    assert reply.usage.total_tokens > 0, reply
    yield "ok"


class Native(Client):
    """A class of dashscope's 1.x API. Failures are replies."""

    def __init__(self, name, model, small, make, text, streams=True, requests=1):
        super().__init__(name, model, small)
        self.make, self.text, self.streams, self.plain_requests = make, text, streams, requests

    def call(self, origin, key, model, stream):
        dashscope.base_http_api_url = origin + "/api/v1"
        dashscope.api_key = key
        more = {"stream": True} if stream else {}
        try:
            replies = self.make(model, **more)
        except InvalidTask as error:
            # The text ends with the reply to the request that was to make the task.
            reply = json.loads("{" + str(error).partition("{")[2])
            raise Refused(reply["status_code"], reply["code"]) from error
        for reply in replies if stream else [replies]:
            if reply.status_code != 200:
                raise Refused(reply.status_code, reply.code)
            yield self.text(reply)


class Second(Client):
    """dashscope's 2.x client; its protocol decides which dialect it speaks."""

    BASES = {"native": "/api/v1", "openai": "/compatible-mode/v1", "anthropic": "/apps/anthropic"}

    def __init__(self, protocol, *models):
        super().__init__(f"Client, {protocol}", *models)
        self.protocol = protocol
        if protocol != "native":
            self.wrong_key = (401, "invalid_api_key")

    def call(self, origin, key, model, stream):
        base_url = origin + self.BASES[self.protocol]
        client = dashscope.Client(base_url=base_url, api_key=key, protocol=self.protocol)
        how = {"model": model, "messages": HELLO, "max_tokens": 400}
        try:
            if stream:
                for chunk in client.chat.completions.create(stream=True, **how):
                    yield str(chunk)
                return
            yield str(client.chat.completions.create(**how))
        except DashScopeError as error:
            raise Refused(error.status_code, error.code) from error


class Tongyi(Client):
    # It repeats a plain call that is refused with 403; others, and streams, it does not.
    quota_requests = TRIES

    def call(self, origin, key, model, stream):
        dashscope.base_http_api_url = origin + "/api/v1"
        chat = ChatTongyi(model=model, api_key=key, max_retries=TRIES, streaming=stream)
        try:
            if stream:
                for chunk in chat.stream("hello [[sim:answer=40]]"):
                    yield chunk.content
                return
            yield chat.invoke("hello [[sim:answer=40]]").content
        except Exception as error:  # it wraps what it gets in several types, and tells it in the text only
            for status, code in [(403, REFUSED), self.overdue, self.wrong_key]:
                if code in str(error):
                    raise Refused(status, code) from error
            raise


class QwenCode(Client):
    wrong_key = (401, "invalid_api_key")
    TEXTS = {REFUSED: "The free tier of the model has been exhausted", "Arrearage": "good standing", "invalid_api_key": "Incorrect API key"}

    def call(self, origin, key, model, stream):
        try:
            yield from qwen_code.ask(origin, key, model, stream)
        except qwen_code.Failed as failed:
            code = [code for code, text in self.TEXTS.items() if text in failed.text]
            raise Refused(failed.status, code[0] if code else failed.text) from failed


def output(reply):
    return json.dumps(reply.output)


def succeeded(reply):
    assert reply.output.task_status == "SUCCEEDED", reply
    return output(reply)


def generation(model, **more):
    return dashscope.Generation.call(model=model, messages=HELLO, result_format="message", **more)


def multimodal(model, **more):
    return dashscope.MultiModalConversation.call(model=model, messages=PARTS, **more)


def hearing(model, **more):
    return dashscope.MultiModalConversation.call(model=model, messages=SOUND, **more)


def embedding(model):
    return dashscope.TextEmbedding.call(model=model, input=["one text", "and another one"])


def rerank(model):
    return dashscope.TextReRank.call(model=model, query="what?", documents=["a", "b"])


def image(model):
    return dashscope.ImageSynthesis.call(model=model, prompt="a cat", n=2, size="1024*1024")


def video(model):
    return dashscope.VideoSynthesis.call(model=model, prompt="a cat", duration=5)


def speech(model, **more):
    return SpeechSynthesizer.call(model=model, text="Hello, \u4f60\u597d", voice="Cherry", **more)


def clients():
    text = ("qwen-plus", "qwen-max")
    return [
        OpenAi("openai completions", *text, completions),
        OpenAiTwice("openai responses", *text, responses),
        OpenAi("openai embeddings", "text-embedding-v4", "text-embedding-v3", embeddings, streams=False),
        Anthropic("anthropic, x-api-key", *text),
        AnthropicBearer("anthropic, bearer", *text),
        Native("Generation", *text, generation, output),
        Native("MultiModalConversation", "qwen3-vl-plus", "qwen3-vl-flash", multimodal, output),
        Native("... on a recording", "qwen3-asr-flash", None, hearing, output, streams=False),
        Native("TextEmbedding", "text-embedding-v4", "text-embedding-v3", embedding, output, streams=False),
        Native("TextReRank", "qwen3-rerank", "text-embedding-v3", rerank, output, streams=False),
        # A task: it is made, found in progress, found done.
        Native("ImageSynthesis", "wan2.2-t2i-flash", "wan2.2-t2i-plus", image, succeeded, streams=False, requests=3),
        Native("VideoSynthesis", "wan2.6-t2v", "wan2.5-t2v-preview", video, succeeded, streams=False, requests=3),
        Native("SpeechSynthesizer", "qwen3-tts-flash", "cosyvoice-v3-flash", speech, output),
        *(Second(protocol, *text) for protocol in ("native", "openai", "anthropic")),
        Tongyi("ChatTongyi", *text),
        QwenCode("qwen-code", *text),
    ]


class Run:
    def __init__(self, demo):
        self.demo = demo
        address = urlsplit(demo["origin"])
        self.relay = Relay(address.hostname, address.port)
        self.account = self.admin("GET", "/accounts")["items"][0]["id"]

    def admin(self, method, path, body=None):
        headers = {"authorization": f"Bearer {self.demo['admin_token']}", "content-type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        url = self.demo["admin_url"] + "/admin/v1" + path
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=5) as reply:
            return json.load(reply)

    def call(self, client, model=None, key=None, stream=False):
        return client.call(self.relay.origin, key or self.demo["api_key"], model or client.model, stream)

    # -- the cases: each gives how many requests have to arrive -----------------------------------

    def plain(self, client):
        assert "".join(self.call(client)), "nothing came"
        return client.plain_requests

    def streamed(self, client):
        assert "".join(part or "" for part in self.call(client, stream=True)), "nothing came"
        return 1

    def aborted(self, client):
        parts = self.call(client, stream=True)
        next(parts)
        parts.close()
        return 1

    def quota(self, client):
        self.refused(client, (403, REFUSED), model=client.small)
        return client.quota_requests

    def quota_streamed(self, client):
        return self.refused(client, (403, REFUSED), model=client.small, stream=True)

    def overdue(self, client):
        state = {"state": "overdue", "grace_until": "2020-01-01T00:00:00Z"}
        self.admin("PATCH", f"/accounts/{self.account}", state)
        try:
            return self.refused(client, client.overdue)
        finally:
            self.admin("PATCH", f"/accounts/{self.account}", {"state": "active"})

    def wrong_key(self, client):
        return self.refused(client, client.wrong_key, key="sk-gratis-wrong")

    def refused(self, client, wanted, **how):
        try:
            got = list(self.call(client, **how))
        except Refused as refusal:
            assert (refusal.status, refusal.code) == wanted, f"{refusal}, expected {wanted}"
            return 1
        raise AssertionError(f"the call was admitted: {got}")

    def cases(self, client):
        cases = [self.plain]
        if client.streams:
            cases += [self.streamed, self.aborted]
        if client.small:
            cases.append(self.quota)
        if client.small and client.streams:
            cases.append(self.quota_streamed)
        return cases + [self.overdue, self.wrong_key]

    def books(self):
        """What the simulator charged is what Gratis spent, and never more than was granted."""
        deadline = time.monotonic() + 60
        while True:
            balances = self.admin("GET", "/balances")["balances"]
            if all(row["held"] == 0 for row in balances):
                break
            assert time.monotonic() < deadline, f"still held: {[row for row in balances if row['held']]}"
            time.sleep(0.1)
        with urllib.request.urlopen(self.demo["simulator_url"] + "/ledger", timeout=5) as reply:
            charged = json.load(reply)["models"]
        for model in self.demo["models"]:
            rows = [row for row in balances if (row.get("model") or row["pool"]) == model["model"]]
            truth = charged.get(model["model"], {"charged": 0})["charged"]
            spent, presumed = (sum(row[name] for row in rows) for name in ("spent", "presumed"))
            assert (truth, 0) == (spent, presumed), f"{model}: charged {truth}, spent {spent}, presumed {presumed}"
            assert truth <= model["granted"], f"{model}: charged {truth}"

    def all(self):
        passed = failed = 0
        versions = f"openai {openai.__version__}, anthropic {anthropic.__version__}, dashscope {dashscope.version.__version__}"
        print(f"{versions}, qwen-code {qwen_code.version()}, langchain-community, Python {sys.version.split()[0]}", flush=True)
        rows = [(client.name, case.__name__, case, client) for client in clients() for case in self.cases(client)]
        for name, title, case, client in rows:
            self.relay.take()
            try:
                expected = case(client)
                arrived = self.relay.take()
                assert len(arrived) == expected, f"{arrived} arrived, expected {expected}"
                result, passed = "ok", passed + 1
            except Exception as error:  # every failure is a line of the table
                arrived = self.relay.take()
                result, failed = f"FAILED {type(error).__name__}: {error}", failed + 1
            print(f"{name:<24} {title.replace('_', ' '):<16} {len(arrived):>3} requests  {result}", flush=True)
        try:
            self.books()
            print("books: charged == spent", flush=True)
            passed += 1
        except Exception as error:
            print(f"books: FAILED {error}", flush=True)
            failed += 1
        print(f"{passed} passed, {failed} failed", flush=True)
        return 1 if failed else 0


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    with open(sys.argv[1], encoding="utf-8") as file:
        sys.exit(Run(json.loads(file.readline())).all())
