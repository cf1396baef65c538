/**
 * Runs before every test file. A test that needs Redis takes it from
 * `SPEAR_TEST_REDIS` and uses a namespace of its own. `bun run test` starts one
 * for all workers; a plain `bun test` gets its own here.
 */
import { afterAll, setDefaultTimeout } from "bun:test";
import { startRedis } from "./redis.ts";

// As in `bun run test`; Bun forgets it after the first file of a plain `bun test`.
setDefaultTimeout(60_000);

if (process.env["SPEAR_TEST_REDIS"] === undefined && Bun.which("redis-server") !== null) {
  const redis = await startRedis();
  process.env["SPEAR_TEST_REDIS"] = redis.url;
  process.on("exit", () => process.kill(redis.pid, "SIGKILL"));
  afterAll(() => redis[Symbol.asyncDispose]());
}
