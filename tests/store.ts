/** An Object Store inside the test's own process, with a namespace and a directory of its own. */
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { storeConfig, type StoreConfig } from "@spear/store/config.ts";
import { start, type RunningStore, type StoreDeps } from "@spear/store/store.ts";
import { loadConfig } from "@spear/shared/config.ts";
import type { Problem } from "@spear/shared/fault.ts";
import { silentLog } from "@spear/shared/log.ts";

export interface TestStore extends AsyncDisposable {
  readonly store: RunningStore;
  readonly config: StoreConfig;
  readonly url: string;
}

/** Starts a store; `settings` and `deps` replace its defaults. */
export async function startTestStore(
  settings: Partial<StoreConfig> = {},
  deps: Partial<StoreDeps> = {},
): Promise<TestStore> {
  const dataDir = await mkdtemp(join(tmpdir(), "spear-store-"));
  const config = loadConfig("store", storeConfig, {
    flags: {
      httpListen: "127.0.0.1:0",
      grpcListen: "127.0.0.1:0",
      redisUrl: process.env["SPEAR_TEST_REDIS"] ?? "",
      namespace: `store-${crypto.randomUUID()}`,
      dataDir,
      reserveBytes: 0,
      ...settings,
    },
    environment: {},
  });
  const store = await start(config, { log: silentLog, ...deps });
  return {
    store,
    config,
    url: `http://${store.http}`,
    [Symbol.asyncDispose]: async () => {
      await store[Symbol.asyncDispose]();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

/** The problem document of an answer that must be a failure. */
export async function problemOf(response: Response): Promise<Problem> {
  const text = await response.text();
  if (response.ok) throw new Error(`expected a failure, got ${response.status}: ${text}`);
  return JSON.parse(text) as Problem;
}

/**
 * Sends bytes, a letter each, over a connection of its own and resolves with what
 * came back by the time the other side closed, or, with `hangUp`, hangs up at once.
 */
export function rawHttp(address: string, bytes: string, hangUp = false): Promise<string> {
  const at = address.lastIndexOf(":");
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let answer = "";
  const socket = connect(Number(address.slice(at + 1)), address.slice(0, at), () => {
    socket.write(bytes, "latin1", () => {
      if (hangUp) socket.destroy();
    });
  });
  socket.on("data", (piece: Buffer) => (answer += piece.toString("latin1")));
  socket.on("close", () => resolve(answer));
  socket.on("error", reject);
  return promise;
}

/** A body of `bytes` bytes that costs next to nothing to make and has no two equal chunks. */
export async function* cheapBytes(bytes: number, pieceBytes = 1 << 20): AsyncGenerator<Buffer> {
  const pattern = Buffer.alloc(pieceBytes);
  for (let index = 0; index < pieceBytes; index += 4)
    pattern.writeUInt32LE((index * 2654435761) % 2 ** 32, index);
  for (let sent = 0, serial = 0; sent < bytes; sent += pieceBytes, serial++) {
    const piece = Buffer.from(pattern.subarray(0, Math.min(pieceBytes, bytes - sent)));
    if (piece.length >= 4) piece.writeUInt32LE(serial);
    yield piece;
  }
}
