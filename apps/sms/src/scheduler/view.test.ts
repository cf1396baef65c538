import { systemIds } from "@spear/shared/ids.ts";
import type { Node } from "@spear/shared/node.ts";
import { describe, expect, test } from "bun:test";
import { holds, parseConstraint } from "./constraint.ts";
import { viewOf } from "./view.ts";

const nothing = { cpu: 0, memoryBytes: 0, slots: 0, extras: {} };
const node: Node = {
  id: systemIds.next("node"),
  name: "rack-1",
  state: "ready",
  httpAddress: "",
  grpcAddress: "",
  capacity: { cpu: 2, memoryBytes: 2 ** 30, slots: 4, extras: { gpu: 2 } },
  reserved: nothing,
  usage: { cpu: 0, memoryBytes: 0, running: 0, diskFreeBytes: 0, load1: 0 },
  labels: { zone: "eu" },
  runtimes: [
    { name: "docker", version: "20.10.24" },
    { name: "mock", version: "" },
  ],
  facts: {
    hostname: "h1",
    os: "linux",
    arch: "x64",
    version: "0.1.0",
    pid: 1,
    killMethod: "cgroup2",
    kernel: "6.1.0-18-amd64",
    distribution: "Debian GNU/Linux 12 (bookworm)",
  },
  registeredAtMs: 0,
  lastSeenAtMs: 0,
  incarnation: "i",
};

describe("what conditions see of a node", () => {
  const { attributes } = viewOf(node, 0);
  test.each([
    ["label.zone == eu", true],
    ["os == linux", true],
    ["kernel >= 6.1", true],
    ["kernel >= 6.2", false],
    ["distribution == Debian GNU/Linux 12 (bookworm)", true],
    ["runtime in docker,wasm", true],
    ["runtime.docker >= 20.9", true],
    ["runtime.docker >= 24", false],
    ["runtime.mock exists", false],
    ["runtime.wasm exists", false],
    ["hostname == h1", true],
    ["name == rack-1", true],
    [`node == ${node.id}`, true],
  ])("%s: %p", (text, expected) => {
    expect(holds(parseConstraint(text, "constraints.0"), attributes)).toBe(expected);
  });
});

test("a cordoned or draining node takes nothing", () => {
  expect(viewOf(node, 0)).toMatchObject({ ready: true, cordoned: false });
  expect(viewOf({ ...node, cordoned: true }, 0)).toMatchObject({ ready: false, cordoned: true });
  expect(viewOf({ ...node, state: "draining" }, 0)).toMatchObject({
    ready: false,
    cordoned: false,
  });
});

test("its losses cost it points, half of them after ten minutes", () => {
  const lost = { ...node, losses: 2, lostAtMs: 1_000 };
  expect(viewOf(lost, 1_000).penalty).toBe(200);
  expect(viewOf(lost, 601_000).penalty).toBe(100);
});
