"""The unmodified qwen-code, run without its screen: the settings that its documentation has for a provider of one's own."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "node/node_modules/@qwen-code/qwen-code"
# Neither a question to the user nor a second turn; what it offers the model to call stays as it is.
HOW = ["--auth-type", "openai", "--bare", "--approval-mode", "plan", "--max-session-turns", "1", "--output-format", "stream-json"]


class Failed(Exception):
    """What it says of a refusal: the status and the provider's text."""

    def __init__(self, said):
        super().__init__(said)
        found = re.search(r"API Error: (\d{3}) (.*)", said, re.DOTALL)
        assert found, f"no status in {said!r}"
        self.status, self.text = int(found[1]), found[2]


def version():
    return json.loads((PACKAGE / "package.json").read_text())["version"]


def ask(origin, key, model, stream):
    """Asks once. Gives the pieces of the answer as they come, or the whole of it."""
    program = PACKAGE / json.loads((PACKAGE / "package.json").read_text())["bin"]["qwen"]
    command = [Path(sys.executable).parent / "node", program, *HOW, *(["--include-partial-messages"] if stream else [])]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        settings = {"OPENAI_API_KEY": key, "OPENAI_BASE_URL": origin + "/compatible-mode/v1", "OPENAI_MODEL": model}
        environment = {"PATH": os.environ["PATH"], "HOME": home, **settings}
        process = subprocess.Popen(
            [*command, "--prompt", "hello [[sim:no-tool,answer=200]]"],
            cwd=home, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            start_new_session=True,
        )
        try:
            yield from pieces(process.stdout, stream)
        finally:
            # Whoever has had enough goes away in the middle of the answer.
            # What it started itself goes with it.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def pieces(lines, stream):
    for line in lines:
        event = json.loads(line)
        if event["type"] == "stream_event" and event["event"].get("delta", {}).get("type") == "text_delta":
            yield event["event"]["delta"]["text"]
        if event["type"] == "assistant" and not stream:
            texts = [part["text"] for part in event["message"]["content"] if part["type"] == "text"]
            failures = [text for text in texts if "API Error" in text]
            if failures:
                raise Failed(failures[0])
            yield from texts
        if event["type"] == "result" and "API Error" in json.dumps(event):
            raise Failed(event["error"]["message"])
