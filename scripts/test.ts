/**
 * `bun run test [patterns]`: all tests, files in parallel, against one
 * redis-server of their own. Ends with `N passed, N failed` on a line.
 */
import { startRedis } from "../tests/redis.ts";
import { root } from "./tools.ts";

/** Copies what the tests say to our own output and returns it. */
async function relay(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    process.stdout.write(chunk);
    text += decoder.decode(chunk, { stream: true });
  }
  return text;
}

/** For a loaded machine; a test that takes seconds on an idle one is wrong. */
const timeoutMs = 60_000;

await using redis = await startRedis();
const child = Bun.spawn(
  [
    process.execPath,
    "test",
    "--no-orphans",
    "--parallel",
    "--only-failures",
    `--timeout=${timeoutMs}`,
    ...process.argv.slice(2),
  ],
  {
    cwd: root,
    env: { ...process.env, SPEAR_TEST_REDIS: redis.url },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  },
);
const said = (await Promise.all([relay(child.stdout), relay(child.stderr)])).join("\n");
const count = (what: string) =>
  Number(new RegExp(`^ *(\\d+) ${what}\\b`, "m").exec(said)?.[1] ?? 0);
const exitCode = await child.exited;
// A file that can't be loaded, or an error between tests, is a failure too.
const failed = Math.max(count("fail") + count("errors?"), exitCode === 0 ? 0 : 1);
console.log(`\n${count("pass")} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
