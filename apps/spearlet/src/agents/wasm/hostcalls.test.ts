/** Guests ask their node over the pipe: core modules through spear.h, components through WIT. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import type { Host } from "../agent.ts";
import { guest, writeHostComponent } from "./guests/build.ts";
import { Bench, body } from "./testing.ts";

const MIB = 1024 * 1024;

/** A node that answers as the guests of these tests expect. */
class ScriptedHost implements Host {
  readonly calls: { name: string; params: Record<string, unknown>; bytes: number }[] = [];
  #left = 3 * MIB;

  async call(name: string, asked: unknown, bytes: Uint8Array = new Uint8Array()) {
    const params = asked as Record<string, unknown>;
    this.calls.push({ name, params, bytes: bytes.length });
    await Promise.resolve();
    if (String(params["object"]).startsWith("secret/")) {
      throw new Fault("permission_denied", "secret/out is not granted");
    }
    switch (name) {
      case "object.get":
        return { result: {}, body: pieces(Buffer.from("h\0"), Buffer.from("llo")) };
      case "stream.open":
        return { result: { ...info, stream: 7 } };
      case "stream.create":
        return { result: { stream: 8 } };
      case "stream.read": {
        const size = Math.min(this.#left, Number(params["maxBytes"]));
        if (params["stream"] !== 7 || size === 0) return this.#end(params);
        this.#left -= size;
        return { result: { end: false }, body: new Uint8Array(size) };
      }
      case "config.get":
        return { result: { value: 'v\n"1' } };
      case "keyvalue.get":
        return { result: { version: 1 }, body: Buffer.from("v") };
      case "keyvalue.set":
        return { result: { version: 1 } };
      case "keyvalue.increment":
        return { result: { value: params["by"], version: 2 } };
      case "task.submit":
        return { result: { taskId: "task_1" } };
      case "task.wait":
        return { result: { state: "succeeded" } };
      case "no.such":
        throw new Fault("not_found", "there is no hostcall no.such");
      default:
        return { result: {} };
    }
  }

  #end(params: Record<string, unknown>) {
    if (this.calls.filter(({ name }) => name === "stream.finish").length > 0) {
      throw new Fault("not_found", `stream ${String(params["stream"])} is not open`);
    }
    return { result: { end: true }, body: new Uint8Array() };
  }
}

const info = {
  object: "corpus/large",
  id: "obj_1",
  sizeBytes: 3,
  sha256: "",
  contentType: "",
  generation: 1,
  metadata: {},
};

async function* pieces(...all: Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const piece of all) yield await Promise.resolve(piece);
}

let bench: Bench;
beforeAll(async () => {
  bench = await Bench.open({ idle: 2 });
});
afterAll(() => bench[Symbol.asyncDispose]());

test("a core module makes each call through spear.h", async () => {
  const host = new ScriptedHost();
  const ended = await bench.run({ module: await guest("hostcalls.c"), host });
  expect(ended.stdout.trim().split("\n")).toEqual([
    "get ok",
    "put ok",
    "denied permission_denied: secret/out is not granted",
    "copy ok",
    "closed not_found: stream 7 is not open",
    "log ok",
    "config ok",
    "set ok",
    "value ok",
    "sum ok",
    "child ok",
    "wait ok",
    "bad not_found: there is no hostcall no.such",
  ]);
  expect(host.calls).toContainEqual({
    name: "object.get",
    params: { object: 'corpus/a "b".txt' },
    bytes: 0,
  });
  expect(host.calls).toContainEqual({
    name: "object.put",
    params: { object: "corpus/out" },
    bytes: 3,
  });
  expect(host.calls).toContainEqual({
    name: "log.write",
    params: { level: "warn", message: 'line\nof \\ "log"' },
    bytes: 0,
  });
  expect(host.calls).toContainEqual({
    name: "task.submit",
    params: { spec: { mock: {} } },
    bytes: 0,
  });
});

test("a component makes them through its imports", async () => {
  const module = await writeHostComponent(join(bench.folder, "host.component.wasm"), "component.c");
  const host = new ScriptedHost();
  const ended = await bench.run({ module, host });
  expect(ended).toMatchObject({
    exitCode: 0,
    stdout: "get ok\ndenied permission_denied\nstream ok\nsum -2\nlog ok\n",
  });
  expect(host.calls).toContainEqual({ name: "stream.close", params: { stream: 7 }, bytes: 0 });
  expect(host.calls).toContainEqual({
    name: "log.write",
    params: { level: "warn", message: "line", fields: { part: "1" } },
    bytes: 0,
  });
});

describe("a guest of a task that grants nothing", () => {
  test("is refused whatever it asks", async () => {
    const ended = await bench.run({ module: await guest("hostcalls.c") });
    expect(ended.stdout).toStartWith(
      "get permission_denied: object.get: this task has no hostcalls\n",
    );
    expect(ended.exitCode).toBe(0);
  });
});

test("a guest that lies about its memory traps, and its node is unharmed", async () => {
  const lie = `(import "spear_host" "call" (func $call (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)`;
  const ended = await bench.run({
    module: body(
      `(drop (call $call (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 0)
                         (i32.const 0) (i32.const 0) (i32.const 0)))
       (drop (call $call (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                         (i32.const 0) (i32.const 0) (i32.const -2)))`,
      lie,
    ),
    host: new ScriptedHost(),
  });
  expect(ended.exitCode).toBe(0);
});
