/**
 * A client of the store's benchmark, a process of its own and as cheap as can be, so
 * that what is measured is the server: `put|get ADDRESS PATH CLIENTS SECONDS BYTES`.
 * Each client has a connection, and sends a request when it has the answer to the one
 * before. Prints how many were answered, how long that took, and how long each took.
 */
import { quantile } from "./measure.ts";

const [method = "get", address = "", path = "", clients = "1", seconds = "1", bytes = "0"] =
  process.argv.slice(2);
const at = address.lastIndexOf(":");
const where = { hostname: address.slice(0, at), port: Number(address.slice(at + 1)) };
const size = Number(bytes);
const headEnd = Buffer.from("\r\n\r\n");
const latencies: number[] = [];
const stamp = process.pid;
let failed = 0;

/** What a client sends as its nth request; no two puts have the same bytes. */
function requestOf(client: number, serial: number): Buffer {
  if (method === "get") return Buffer.from(`GET ${path} HTTP/1.1\r\nHost: bench\r\n\r\n`);
  const key = `${stamp}-${client}-${serial}`;
  const head = Buffer.from(
    `PUT ${path}${key} HTTP/1.1\r\nHost: bench\r\nContent-Length: ${size}\r\n\r\n`,
  );
  const request = Buffer.alloc(head.length + size, 0x61);
  head.copy(request);
  request.write(key, head.length);
  return request;
}

/** Bytes of the answer that a buffer begins with; undefined if its head is not there yet. */
function answerBytes(received: Buffer): number | undefined {
  const end = received.indexOf(headEnd);
  if (end < 0) return undefined;
  const head = received.toString("latin1", 0, end);
  if (!head.startsWith("HTTP/1.1 200")) failed++;
  return end + headEnd.length + Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
}

async function run(client: number, endMs: number): Promise<void> {
  const { promise: done, resolve, reject } = Promise.withResolvers<void>();
  let serial = 0;
  let sentAtMs = 0;
  let received: Buffer = Buffer.alloc(0);
  let expected: number | undefined;
  const pending: { request: Buffer; sent: number } = { request: Buffer.alloc(0), sent: 0 };
  const flush = (socket: Bun.Socket) => {
    pending.sent += socket.write(pending.request.subarray(pending.sent));
  };
  const send = (socket: Bun.Socket) => {
    received = Buffer.alloc(0);
    expected = undefined;
    pending.request = requestOf(client, serial++);
    pending.sent = 0;
    sentAtMs = performance.now();
    flush(socket);
  };
  await Bun.connect({
    ...where,
    socket: {
      open: send,
      drain: flush,
      data(socket, piece) {
        received = received.length === 0 ? Buffer.from(piece) : Buffer.concat([received, piece]);
        expected ??= answerBytes(received);
        if (expected === undefined || received.length < expected) return;
        const nowMs = performance.now();
        latencies.push(nowMs - sentAtMs);
        if (nowMs < endMs) send(socket);
        else socket.end();
      },
      close: () => resolve(),
      error: (_, error) => reject(error),
    },
  });
  await done;
}

const startMs = performance.now();
const endMs = startMs + Number(seconds) * 1_000;
await Promise.all(Array.from({ length: Number(clients) }, (_, client) => run(client, endMs)));
if (failed > 0) throw new Error(`${failed} requests failed`);
process.stdout.write(
  `${JSON.stringify({
    perSecond: latencies.length / ((performance.now() - startMs) / 1_000),
    p50Ms: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
  })}\n`,
);
process.exit(0);
