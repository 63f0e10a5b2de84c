// A relay between an SDK and Gratis that counts the requests that really arrive.
//
// It reads nothing but the framing of the requests (head and content-length) and passes every byte on as it came, so it
// sees each retry that an SDK makes, and Gratis sees each connection that an SDK closes.

import net from "node:net";

export class Relay {
  #seen = [];
  #target;

  /** Listens on a free port of the loopback interface and connects to `host:port` for every connection. */
  static async start(host, port) {
    const relay = new Relay();
    relay.#target = { host, port };
    const server = net.createServer((client) => relay.#connection(client));
    await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
    server.unref();
    relay.origin = `http://127.0.0.1:${server.address().port}`;
    return relay;
  }

  /** The requests since the last call, each as "METHOD path". */
  take() {
    return this.#seen.splice(0);
  }

  #connection(client) {
    const server = net.connect(this.#target);
    for (const [end, other] of [[client, server], [server, client]]) {
      end.setNoDelay(true);
      end.on("error", () => other.destroy());
      end.on("close", () => other.destroy());
    }
    server.pipe(client);
    let head = Buffer.alloc(0);
    let body = 0;
    client.on("data", (data) => {
      server.write(data);
      while (data.length > 0) {
        if (body > 0) {
          const part = Math.min(body, data.length);
          body -= part;
          data = data.subarray(part);
          continue;
        }
        head = Buffer.concat([head, data]);
        const end = head.indexOf("\r\n\r\n");
        if (end < 0) return;
        const [line, length] = readHead(head.subarray(0, end).toString("latin1"));
        this.#seen.push(line);
        body = length;
        data = head.subarray(end + 4);
        head = Buffer.alloc(0);
      }
    });
  }
}

function readHead(text) {
  const [first, ...lines] = text.split("\r\n");
  const [method, path] = first.split(" ");
  const headers = new Map(lines.map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim()];
  }));
  if (headers.has("transfer-encoding")) throw new Error("the relay reads requests with a content-length only");
  return [`${method} ${path}`, Number(headers.get("content-length") ?? 0)];
}
