/** A real SPEARlet is killed in the middle of many attempts: nothing of them may be left (T6). */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { readFileSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { NodeId } from "@spear/shared/ids.ts";
import { Program } from "../../../tests/programs.ts";
import { nodeConfig, ScriptedSms, until } from "./testing.ts";

let sms: ScriptedSms;
let dataDir: string;

beforeAll(async () => {
  sms = await ScriptedSms.start();
  dataDir = await mkdtemp(join(tmpdir(), "spear-restart-"));
});
afterAll(async () => {
  await sms[Symbol.asyncDispose]();
  await rm(dataDir, { recursive: true });
});

/** Processes that were started for the node's attempts. */
function attemptsAlive(nodeId: string): number {
  return readdirSync("/proc").filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      const environment = readFileSync(`/proc/${name}/environ`, "utf8").split("\0");
      return environment.includes(`SPEAR_NODE_ID=${nodeId}`);
    } catch {
      return false;
    }
  }).length;
}

/** The program with the settings of a node of this SMS. */
function spearlet(): Program {
  const { smsAddress, httpListen, grpcListen } = nodeConfig(sms, dataDir);
  return new Program("spearlet", {
    flags: { smsAddress, httpListen, grpcListen, dataDir, runtimes: "process", slots: 32 },
  });
}

const count = 12;
const spec = {
  process: { command: ["sh", "-c", "setsid sleep 1000 & sleep 1000 & echo ready; wait"] },
};

test("what a killed SPEARlet ran is ended, removed and reported by its next run", async () => {
  const killed = await spearlet().start();
  const hello = await until(() => sms.hellos[0]);
  const nodeId = hello.nodeId as NodeId;
  const ids = [];
  for (let index = 0; index < count; index += 1) ids.push(await sms.assign(nodeId, spec));
  // A shell and its two children each.
  await until(() => (attemptsAlive(nodeId) >= 3 * count ? true : undefined));
  await killed.kill("SIGKILL");
  await using next = await spearlet().start();
  expect(attemptsAlive(nodeId)).toBe(0);
  expect(await readdir(join(dataDir, "work"))).toEqual([]);
  for (const id of ids) {
    expect(await sms.exitOf(id)).toMatchObject({
      nodeFault: true,
      failure: { code: "node_restarted" },
    });
  }
  expect(next.running).toBe(true);
  // An attempt whose entry comes again is stale by now, and is not run again.
  for (const id of ids) expect(sms.said(id).filter((what) => what === "exit")).toEqual(["exit"]);
});

test("what a killed SPEARlet ran ends also if it is never started again", async () => {
  const hellos = sms.hellos.length;
  const killed = await spearlet().start();
  const { nodeId } = await until(() => sms.hellos[hellos]);
  await sms.assign(nodeId as NodeId, spec);
  await until(() => (attemptsAlive(nodeId) >= 3 ? true : undefined));
  await killed.kill("SIGKILL");
  await until(() => (attemptsAlive(nodeId) === 0 ? true : undefined));
});
