/** A Store that was stopped, and replaced meanwhile, changes nothing when it goes on (O4). */
import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Program, until } from "../programs.ts";
import { problemOf } from "../store.ts";

// Programs start and end here, on a machine that may be loaded.
const timeoutMs = 60_000;

test(
  "a Store that another has replaced is refused, whatever it was about to do",
  async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "spear-takeover-"));
    const options = {
      flags: {
        httpListen: "127.0.0.1:0",
        grpcListen: "127.0.0.1:0",
        redisUrl: process.env["SPEAR_TEST_REDIS"] ?? "",
        namespace: `takeover-${crypto.randomUUID()}`,
        dataDir,
        reserveBytes: 0,
        graceMs: 0,
        collectMs: 20,
      },
    };
    try {
      await using first = await new Program("store", options).start();
      const at = (store: Program, path: string) => `http://${store.http}/v1/buckets/bucket${path}`;
      await fetch(at(first, ""), { method: "PUT" });
      const upload = (store: Program, key: string) =>
        fetch(at(store, `/objects/${key}`), { method: "PUT", body: key });
      expect((await upload(first, "before")).status).toBe(200);
      await first.kill("SIGSTOP");
      // On its way when the process was stopped: it arrives when it goes on.
      const late = upload(first, "late");
      await using second = await new Program("store", options).start();
      expect((await upload(second, "after")).status).toBe(200);
      expect((await fetch(at(second, "/objects/before"), { method: "DELETE" })).status).toBe(200);
      await first.kill("SIGCONT");
      const problem = await problemOf(await late);
      expect(problem).toMatchObject({ code: "unavailable", detail: "this store's turn is over" });
      expect((await upload(first, "later")).status).toBe(503);
      // The second goes on as if nothing had been: collects, stores, serves.
      expect((await upload(second, "again")).status).toBe(200);
      for (const key of ["late", "later", "before"]) {
        expect((await fetch(at(second, `/objects/${key}`))).status).toBe(404);
      }
      await until("both keys are served", async () => {
        const texts = await Promise.all(
          ["after", "again"].map(async (key) =>
            (await fetch(at(second, `/objects/${key}`))).text(),
          ),
        );
        return texts.join() === "after,again";
      });
    } finally {
      await rm(dataDir, { recursive: true, force: true });
    }
  },
  timeoutMs,
);
