import { expect, test } from "bun:test";
import fc from "fast-check";
import { Fault } from "./fault.ts";
import { checkTaskSpec, maxStdinBytes, retryDelayMs, runtimeOf, type TaskSpec } from "./task.ts";

const process = { command: ["true"] };

/** Spec → the field that the fault names. */
const refused: [unknown, string][] = [
  [{}, "spec"],
  [null, "spec"],
  [[], "spec"],
  ["sh -c true", "spec"],
  [{ process, wasm: { module: "b-1/m" } }, "spec.wasm"],
  [{ proces: process }, "spec.proces"],
  [{ process: {} }, "spec.process.command"],
  [{ process: { command: [] } }, "spec.process.command"],
  [{ process: { command: [""] } }, "spec.process.command.0"],
  [{ process: { command: "true" } }, "spec.process.command"],
  [{ process: { command: ["a\u0000b"] } }, "spec.process.command.0"],
  [{ process: { command: ["true"], shell: true } }, "spec.process.shell"],
  [{ process, name: "../etc" }, "spec.name"],
  [{ process, name: "-x" }, "spec.name"],
  [{ process, name: "x".repeat(129) }, "spec.name"],
  [{ process, resources: { cpu: -1 } }, "spec.resources.cpu"],
  [{ process, resources: { cpu: 1e9 } }, "spec.resources.cpu"],
  [{ process, resources: { cpu: "1" } }, "spec.resources.cpu"],
  [{ process, resources: { memoryBytes: -1 } }, "spec.resources.memoryBytes"],
  [{ process, resources: { memoryBytes: 2 ** 60 } }, "spec.resources.memoryBytes"],
  [{ process, resources: { memoryBytes: 1.5 } }, "spec.resources.memoryBytes"],
  [{ process, resources: { pids: 0 } }, "spec.resources.pids"],
  [{ process, resources: { gpu: 1 } }, "spec.resources.gpu"],
  [{ process, inputs: [{ object: "b-1/k", path: "/etc/passwd" }] }, "spec.inputs.0.path"],
  [{ process, inputs: [{ object: "b-1/k", path: "a/../../b" }] }, "spec.inputs.0.path"],
  [{ process, inputs: [{ object: "b-1/k", path: ".." }] }, "spec.inputs.0.path"],
  [{ process, inputs: [{ object: "b-1/k", path: "" }] }, "spec.inputs.0.path"],
  [{ process, inputs: [{ object: "noslash", path: "a" }] }, "spec.inputs.0.object"],
  [{ process, inputs: [{ object: "../x/k", path: "a" }] }, "spec.inputs.0.object"],
  [
    {
      process,
      inputs: [
        { object: "bkt/k", path: "a" },
        { object: "bkt/l", path: "a" },
      ],
    },
    "spec.inputs.1.path",
  ],
  [{ process, outputs: [{ object: "bkt/k", path: "./a" }] }, "spec.outputs.0.path"],
  [{ process, env: { "A-B": "x" } }, "spec.env.A-B"],
  [{ process, env: { A: 1 } }, "spec.env.A"],
  [{ process, stdin: "not base64!" }, "spec.stdin"],
  [{ process, timeoutMs: -1 }, "spec.timeoutMs"],
  [{ process, priority: 101 }, "spec.priority"],
  [{ process, retries: { max: 1_001 } }, "spec.retries.max"],
  [{ process, retries: { backoff: "linear" } }, "spec.retries.backoff"],
  [{ process, nodeId: "node_1" }, "spec.nodeId"],
  [{ process, labels: { "": "x" } }, "spec.labels"],
  [{ process, sandbox: "vm" }, "spec.sandbox"],
];

test.each(refused)("%j is refused, naming %s", (spec, field) => {
  let fault: unknown;
  try {
    checkTaskSpec(spec);
  } catch (error) {
    fault = error;
  }
  expect(fault).toBeInstanceOf(Fault);
  expect({ code: (fault as Fault).code, field: (fault as Fault).field }).toEqual({
    code: "invalid_argument",
    field,
  });
});

test("a full spec passes as it is", () => {
  const spec: TaskSpec = {
    name: "count.part-1",
    process: { command: ["sh", "-c", "wc -w < in.txt"], user: "nobody" },
    env: { LANG: "C" },
    stdin: Buffer.alloc(maxStdinBytes).toString("base64"),
    resources: { cpu: 0.5, memoryBytes: 2 ** 26, pids: 10, extras: { gpu: 1 } },
    inputs: [{ object: "corpus/part 1/…", path: "in.txt" }],
    outputs: [{ object: "results/a", path: "dir/out.json", optional: true }],
    timeoutMs: 1_000,
    retries: { max: 3, backoff: "fixed", delayMs: 10, noRetryExitCodes: [2] },
    labels: { "team/name": "x" },
  };
  expect(checkTaskSpec(spec)).toBe(spec);
  expect(runtimeOf(spec)).toBe("process");
});

test("checking never throws anything but a fault", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      try {
        checkTaskSpec(value);
      } catch (error) {
        expect(error).toBeInstanceOf(Fault);
      }
    }),
  );
});

test("delays grow, and never past the longest", () => {
  const delays = (backoff: "fixed" | "exponential") =>
    [1, 2, 3, 4, 5].map((failures) =>
      retryDelayMs({ process, retries: { backoff, delayMs: 100, maxDelayMs: 500 } }, failures),
    );
  expect(delays("exponential")).toEqual([100, 200, 400, 500, 500]);
  expect(delays("fixed")).toEqual([100, 100, 100, 100, 100]);
  expect(retryDelayMs({ process }, 10_000)).toBe(300_000);
});
