"""The unmodified DashScope SDK over WebSocket: speech synthesis and recognition, until the free quota ends.

Arguments: ORIGIN (ws://...), KEY. Prints a table and "N passed, M failed".
"""

import sys
import tempfile
import threading

import dashscope
from dashscope.audio.asr import Recognition, RecognitionCallback
from dashscope.audio.tts_v2 import ResultCallback, SpeechSynthesizer

URL = sys.argv[1] + "/api-ws/v1/inference"
dashscope.api_key = sys.argv[2]
dashscope.base_websocket_api_url = URL
RESULTS = []


def check(name, ok, what):
    RESULTS.append(ok)
    print(f"{name:<40} {'passed' if ok else 'FAILED'}  {what}")


class Listener(RecognitionCallback):
    def __init__(self):
        self.done = threading.Event()
        self.sentences = 0
        self.error = None

    def on_event(self, result):
        self.sentences += 1

    def on_complete(self):
        self.done.set()

    def on_error(self, result):
        self.error = result
        self.done.set()


def synthesise(text):
    return SpeechSynthesizer(model="cosyvoice-v3-flash", voice="longanyang", url=URL).call(text)


audio = synthesise("hello there")
check("SpeechSynthesizer.call", audio == b"".join(bytes([b, b ^ 255]) for b in b"hello there"), f"{len(audio or b'')} bytes")

heard = []


class Speaker(ResultCallback):
    def on_data(self, data):
        heard.append(data)


speaker = SpeechSynthesizer(model="cosyvoice-v3-flash", voice="longanyang", url=URL, callback=Speaker())
speaker.streaming_call("one ")
speaker.streaming_call("two")
speaker.streaming_complete()
check("SpeechSynthesizer.streaming_call", len(b"".join(heard)) == 14, "two pieces")

listener = Listener()
recognition = Recognition(model="fun-asr-realtime", format="pcm", sample_rate=16000, callback=listener)
recognition.start()
for _ in range(5):
    recognition.send_audio_frame(b"\1" * 32000)
recognition.stop()
check("Recognition, duplex", listener.done.wait(20) and listener.error is None and listener.sentences == 5, f"{listener.sentences} sentences")

with tempfile.NamedTemporaryFile(suffix=".pcm") as file:
    file.write(b"\1" * 96000)
    file.flush()
    result = Recognition(model="fun-asr-realtime", format="pcm", sample_rate=16000, callback=None).call(file.name)
check("Recognition.call", result.status_code == 200, f"{result.status_code} {result.code} {result.message}")

try:
    synthesise("x" * 20000)
    check("SpeechSynthesizer, quota", False, "it was not refused")
except Exception as error:  # pylint: disable=broad-except
    check("SpeechSynthesizer, quota", "AllocationQuota.FreeTierOnly" in str(error), str(error)[:90])

listener = Listener()
recognition = Recognition(model="no-such-model", format="pcm", sample_rate=16000, callback=listener)
try:
    recognition.start()
    recognition.stop()
except Exception:  # pylint: disable=broad-except
    pass
said = getattr(listener.error, "code", None) or getattr(listener.error, "message", None)
check("Recognition, unknown model", listener.done.wait(20) and said is not None, str(said))

print(f"{sum(RESULTS)} passed, {len(RESULTS) - sum(RESULTS)} failed")
