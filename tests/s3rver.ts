/**
 * S3 services to hold our backend against: one that is not ours, s3rver, which an
 * npm package offers, as a process of its own; and our own S3 face.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startTestStore } from "./store.ts";

/** The one account that s3rver knows. */
const account = "S3RVER";
const root = join(import.meta.dir, "..");

export interface S3Service extends AsyncDisposable {
  /** As `http://127.0.0.1:41234`. */
  readonly endpoint: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** Starts a Store of ours in this process, with these buckets. */
export async function startOwnS3(...buckets: string[]): Promise<S3Service> {
  const running = await startTestStore({ graceMs: 0 });
  for (const bucket of buckets) await running.store.buckets.create(bucket, false);
  const { id, secret } = await running.store.accessKeys.create({});
  return {
    endpoint: running.url,
    accessKeyId: id,
    secretAccessKey: secret,
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}

/** Starts s3rver on a free port, with these buckets. */
export async function startForeignS3(...buckets: string[]): Promise<S3Service> {
  const directory = await mkdtemp(join(tmpdir(), "spear-s3rver-"));
  const child = Bun.spawn(
    [
      "node",
      // Its page tokens are made with a cipher that today's OpenSSL gives only if asked for.
      "--openssl-legacy-provider",
      join(root, "node_modules/s3rver/bin/s3rver.js"),
      ...["--directory", directory, "--address", "127.0.0.1", "--port", "0", "--silent"],
      ...buckets.flatMap((bucket) => ["--configure-bucket", bucket]),
    ],
    { stdin: "ignore", stdout: "pipe", stderr: "inherit" },
  );
  const dispose = async () => {
    child.kill("SIGKILL");
    await child.exited;
    await rm(directory, { recursive: true, force: true });
  };
  let said = "";
  const decoder = new TextDecoder();
  for await (const piece of child.stdout) {
    said += decoder.decode(piece, { stream: true });
    const address = /127\.0\.0\.1:\d+/.exec(said)?.[0];
    if (address !== undefined) {
      return {
        endpoint: `http://${address}`,
        accessKeyId: account,
        secretAccessKey: account,
        [Symbol.asyncDispose]: dispose,
      };
    }
  }
  await dispose();
  throw new Error(`s3rver did not start: ${said}`);
}
