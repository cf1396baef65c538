/** An S3 service that is not ours: s3rver, which an npm package offers, as a process of its own. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** It knows this one account. */
export const account = "S3RVER";
const root = join(import.meta.dir, "..");

export interface ForeignS3 extends AsyncDisposable {
  /** As `http://127.0.0.1:41234`. */
  readonly endpoint: string;
}

/** Starts it on a free port with these buckets. */
export async function startForeignS3(...buckets: string[]): Promise<ForeignS3> {
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
      return { endpoint: `http://${address}`, [Symbol.asyncDispose]: dispose };
    }
  }
  await dispose();
  throw new Error(`s3rver did not start: ${said}`);
}
