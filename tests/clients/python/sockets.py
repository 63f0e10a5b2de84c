"""Speaks WebSocket with the library `websockets` and prints every message and how the connection ended, one JSON value a line.

Arguments: ORIGIN (ws://...), KEY, and the case: `speech`, `turns`, `unread` or `refused`.
"""

import asyncio
import json
import sys

import websockets

TASK = "00000000000090008000000000000001"


def task(action, payload):
    return json.dumps({"header": {"action": action, "task_id": TASK, "streaming": "duplex"}, "payload": payload})


RUN = task(
    "run-task",
    {
        "task_group": "audio",
        "task": "tts",
        "function": "SpeechSynthesizer",
        "model": "cosyvoice-v3-flash",
        "parameters": {"voice": "longanyang"},
        "input": {},
    },
)


async def speech(socket):
    await socket.send(RUN)
    await show(socket)
    for text in ["hello there", " 你好", "z" * 70_000]:
        # In fragments, as a library may send them.
        whole = task("continue-task", {"input": {"text": text}})
        await socket.send([whole[:50], whole[50:51], whole[51:]])
        await show(socket)
        await show(socket)
    await socket.ping()
    await socket.send(task("finish-task", {"input": {}}))
    await show(socket)
    await socket.close(4321, "enough")


async def turns(socket):
    await show(socket)
    for _ in range(2):
        await socket.send(json.dumps({"type": "response.create"}))
        for _ in range(5):
            await show(socket)
    await socket.close()


async def unread(socket):
    await socket.send(RUN)
    await show(socket)
    await socket.send(json.dumps({"header": {"action": "finish-task", "task_id": TASK}, "payload": {"input": {}}}))
    await show(socket)


async def refused(socket):
    await socket.send(RUN.replace("cosyvoice-v3-flash", "no-such-model"))
    await show(socket)
    await show(socket)


async def show(socket):
    message = await socket.recv()
    print(json.dumps(message if isinstance(message, str) else message.hex()))


async def main(origin, key, case):
    path = "/api-ws/v1/realtime?model=qwen3-omni-flash-realtime" if case == "turns" else "/api-ws/v1/inference"
    async with websockets.connect(origin + path, additional_headers={"Authorization": "bearer " + key}) as socket:
        try:
            await {"speech": speech, "turns": turns, "unread": unread, "refused": refused}[case](socket)
        except websockets.ConnectionClosed:
            pass
    print(json.dumps({"code": socket.close_code, "reason": socket.close_reason}))


asyncio.run(main(*sys.argv[1:]))
