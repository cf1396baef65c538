import type { Task } from "@spear/shared/task.ts";
import { describe, expect, test } from "bun:test";
import { Client } from "./client.ts";
import { exitCodeOf, specOf } from "./run.ts";

const task = (fields: Partial<Task>): Task => ({
  id: "task_01JD3T1V7Z8Q4N5M6P7R8S9T0A",
  jobId: "job_01JD3T1V7Z8Q4N5M6P7R8S9T0A",
  name: "a",
  spec: {},
  state: "failed",
  attempt: 1,
  runtime: "process",
  seq: 1,
  createdAtMs: 1,
  cancelRequested: false,
  outputs: [],
  failures: 0,
  ...fields,
});

describe("how run ends", () => {
  test.each<[string, Partial<Task>, NodeJS.Signals | undefined, number]>([
    ["success", { state: "succeeded", exitCode: 0 }, undefined, 0],
    ["an exit code", { exitCode: 7 }, undefined, 7],
    ["a signal", { signal: "SIGKILL" }, undefined, 137],
    ["a failure before it ran", {}, undefined, 1],
    ["outputs that were missing", { exitCode: 0 }, undefined, 1],
    ["a timeout", { state: "timed_out", signal: "SIGTERM" }, undefined, 124],
    ["our Ctrl-C", { state: "cancelled", signal: "SIGTERM" }, "SIGINT", 130],
    ["our SIGTERM", { state: "cancelled" }, "SIGTERM", 143],
    ["somebody else's cancel", { state: "cancelled", signal: "SIGTERM" }, undefined, 143],
    ["a cancel before it ran", { state: "cancelled" }, undefined, 1],
    ["success after our Ctrl-C", { state: "succeeded", exitCode: 0 }, "SIGINT", 0],
    ["leaving before its end", { state: "running" }, undefined, 1],
  ])("%s", (_, fields, interrupt, code) => {
    expect(exitCodeOf(task(fields), interrupt)).toBe(code);
  });
});

describe("what run submits", () => {
  const nowhere = new Client({
    what: "the Object Store",
    address: "http://127.0.0.1:1",
    help: "",
    token: undefined,
  });

  test("nothing that was not asked for", async () => {
    expect(await specOf(["echo", "hi"], {}, nowhere)).toEqual({
      process: { command: ["echo", "hi"] },
    });
    expect(await specOf([], { image: "debian:12" }, nowhere)).toEqual({
      docker: { image: "debian:12" },
    });
  });

  test("every option", async () => {
    expect(
      await specOf(
        ["ls"],
        {
          image: "debian:12",
          name: "n",
          env: { A: "1" },
          input: [{ object: "corpus/a", path: "a" }],
          output: [{ object: "corpus/b", path: "b" }],
          cpu: 0.5,
          memory: 1024,
          timeout: 10,
          grace: 20,
          retries: 2,
          priority: 0,
          constraint: ["label.zone == eu"],
          label: { team: "x" },
          node: "node_01JD3T1V7Z8Q4N5M6P7R8S9T0A",
          keep: true,
        },
        nowhere,
      ),
    ).toEqual({
      docker: { image: "debian:12", command: ["ls"] },
      name: "n",
      env: { A: "1" },
      inputs: [{ object: "corpus/a", path: "a" }],
      outputs: [{ object: "corpus/b", path: "b" }],
      resources: { cpu: 0.5, memoryBytes: 1024 },
      timeoutMs: 10,
      graceMs: 20,
      retries: { max: 2 },
      priority: 0,
      constraints: ["label.zone == eu"],
      labels: { team: "x" },
      nodeId: "node_01JD3T1V7Z8Q4N5M6P7R8S9T0A",
      keep: true,
    });
  });

  test("files that can't be read are named with their option", () => {
    expect(specOf(["ls"], { envFile: ["/no/env"] }, nowhere)).rejects.toThrow(
      "--env-file: can't read /no/env",
    );
    expect(specOf([], { wasm: "/no/module" }, nowhere)).rejects.toThrow(
      "--wasm: can't read /no/module",
    );
  });
});
