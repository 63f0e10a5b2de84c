// Speaks WebSocket with the library `ws` and prints every message and how the connection ended, one JSON value a line.
// Arguments: ORIGIN (ws://...), KEY, and the case: `speech`, `turns`, `unread` or `refused`.
import WebSocket from "ws";

const [origin, key, name] = process.argv.slice(2);
const TASK = "00000000000090008000000000000001";
const task = (action, payload) =>
  JSON.stringify({ header: { action, task_id: TASK, streaming: "duplex" }, payload });
const run = (model) =>
  task("run-task", {
    task_group: "audio", task: "tts", function: "SpeechSynthesizer", model, parameters: { voice: "longanyang" }, input: {},
  });
const say = (text) => task("continue-task", { input: { text } });
const finish = task("finish-task", { input: {} });
const respond = JSON.stringify({ type: "response.create" });
const MODEL = "cosyvoice-v3-flash";

// What is sent after how many messages.
const cases = {
  speech: { 0: run(MODEL), 1: say("hello there"), 3: say(" 你好"), 5: say("z".repeat(70000)), 7: finish },
  turns: { 1: respond, 6: respond },
  unread: { 0: run(MODEL), 1: finish },
  refused: { 0: run("no-such-model") },
};
const last = { speech: 8, turns: 11, unread: 2, refused: 2 }[name];
const path = name === "turns" ? "/api-ws/v1/realtime?model=qwen3-omni-flash-realtime" : "/api-ws/v1/inference";
const socket = new WebSocket(origin + path, { headers: { authorization: "Bearer " + key } });
let count = 0;
const step = () => {
  const text = cases[name][count];
  if (text !== undefined) {
    // In fragments, as a library may send them.
    socket.send(text.slice(0, 20), { fin: false });
    socket.send(text.slice(20));
  }
  if (count === last) socket.close(4321, "enough");
};
socket.on("open", step);
socket.on("message", (data, binary) => {
  console.log(JSON.stringify(binary ? data.toString("hex") : data.toString()));
  count += 1;
  step();
});
socket.on("close", (code, reason) => console.log(JSON.stringify({ code, reason: reason.toString() })));
