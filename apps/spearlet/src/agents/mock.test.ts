import { expect, test } from "bun:test";
import { systemIds } from "@spear/shared/ids.ts";
import type { MockSpec } from "@spear/shared/task.ts";
import type { Static } from "@sinclair/typebox";
import { describeAgent, type Behaviour } from "./contract.ts";
import { MockAgent } from "./mock.ts";

function mockOf(behaviour: Behaviour): Static<typeof MockSpec> {
  switch (behaviour.does) {
    case "exit":
      return { exitCode: behaviour.code };
    case "hang":
      return { print: "ready\n", hang: true };
    default:
      throw new TypeError(`a mock can't ${behaviour.does}`);
  }
}

describeAgent({
  name: "mock",
  can: ["exit", "hang"],
  open: () =>
    Promise.resolve({
      nodeId: systemIds.next("node"),
      makeAgent: () => new MockAgent(),
      spec: (behaviour) => ({ mock: mockOf(behaviour) }),
      countAlive: () => Promise.resolve(0),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    }),
});

/** Runs a mock as this attempt of a task; its exit code and output. */
async function run(mock: Static<typeof MockSpec>, attempt: number) {
  const printed: string[] = [];
  const prepared = await new MockAgent().prepare({
    taskId: systemIds.next("task"),
    attempt,
    spec: { mock },
    workDir: "",
    env: {},
    stdin: new Uint8Array(),
    output: {
      write: (stream, bytes) => {
        printed.push(stream, Buffer.from(bytes).toString());
        return Promise.resolve();
      },
    },
    limits: { cpu: 0, memoryBytes: 0, pids: undefined },
  });
  const { exitCode } = await (await prepared.start()).exit;
  return { exitCode, printed };
}

test("a mock fails as many first attempts as it is told", async () => {
  const mock = { failAttempts: 2, exitCode: 4 };
  expect((await run(mock, 1)).exitCode).toBe(1);
  expect((await run(mock, 2)).exitCode).toBe(1);
  expect((await run(mock, 3)).exitCode).toBe(4);
});

test("a mock sleeps and prints as it is told", async () => {
  const startMs = performance.now();
  expect(await run({ sleepMs: 30, print: "hello" }, 1)).toEqual({
    exitCode: 0,
    printed: ["stdout", "hello"],
  });
  expect(performance.now() - startMs).toBeGreaterThanOrEqual(29);
});
