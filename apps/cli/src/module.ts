/** Wasm modules: uploaded once, under their SHA-256. */
import { Fault } from "@spear/shared/fault.ts";
import type { Client } from "./client.ts";
import { objectPath, putObject } from "./transfer.ts";

const bucket = "spear-modules";

/** Makes sure that the store has the module; resolves with its `bucket/key`. */
export async function uploadModule(store: Client, path: string): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256");
  try {
    for await (const block of Bun.file(path).stream()) hasher.update(block);
  } catch (error) {
    throw new Fault("invalid_argument", `--wasm: can't read ${path}`, {
      field: "--wasm",
      cause: error,
    });
  }
  const name = { bucket, key: hasher.digest("hex") };
  try {
    await store.request("HEAD", objectPath(name));
  } catch (error) {
    if (Fault.from(error).row.http !== 404) throw error;
    await store.json("PUT", `/v1/buckets/${bucket}`, { query: { ifAbsent: true } });
    await putObject(store, path, name, { contentType: "application/wasm", progress: true });
  }
  return `${bucket}/${name.key}`;
}
