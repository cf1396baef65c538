import { Glob } from "bun";
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Fault } from "./fault.ts";
import { editorSchema, fileFault, jobFromFile, parseJobFile, readJobFile } from "./job-file.ts";

const design = `
name: word-count
tasks:
  count:
    replicas: 4                      # SPEAR_TASK_INDEX = 0..3
    wasm: { module: ./count.wasm, args: ["in.txt"] }
    inputs:  [{ object: corpus/part-\${index}.txt, path: in.txt }]
    outputs: [{ path: out.json, object: results/part-\${index}.json }]
    resources: { cpu: 0.5, memory: 64Mi }
    timeout: 30s
    retries: { max: 3, backoff: exponential, delay: 1s }
  merge:
    dependsOn: [count]
    process: { command: [./merge.sh] }
    constraints: ["label.zone == eu", "runtime == process"]
`;

const read = (text: string, given: Record<string, string> = {}) =>
  jobFromFile(parseJobFile(text, "job.yaml"), given);

function faultOf(text: string, given?: Record<string, string>): Fault {
  try {
    read(text, given);
  } catch (error) {
    if (error instanceof Fault) return error;
  }
  throw new Error("it was accepted");
}

describe("a job file", () => {
  test("as in the design becomes a spec in canonical units", () => {
    expect(read(design)).toEqual({
      name: "word-count",
      tasks: {
        count: {
          replicas: 4,
          task: {
            wasm: { module: "./count.wasm", args: ["in.txt"] },
            inputs: [{ object: "corpus/part-${index}.txt", path: "in.txt" }],
            outputs: [{ path: "out.json", object: "results/part-${index}.json" }],
            resources: { cpu: 0.5, memoryBytes: 64 * 1024 * 1024 },
            timeoutMs: 30_000,
            retries: { max: 3, backoff: "exponential", delayMs: 1_000 },
          },
        },
        merge: {
          dependsOn: ["count"],
          task: {
            process: { command: ["./merge.sh"] },
            constraints: ["label.zone == eu", "runtime == process"],
          },
        },
      },
    });
  });

  test("may be JSON, and takes every unit", () => {
    const spec = read(
      JSON.stringify({
        deadline: "1.5h",
        retention: "2d",
        delay: "250ms",
        tasks: {
          a: {
            mock: { sleep: "2s" },
            stdin: "hi",
            grace: "1m",
            maxLog: 8192,
            resources: { memory: "1.5G" },
          },
        },
      }),
    );
    expect(spec).toEqual({
      deadlineMs: 5_400_000,
      retentionMs: 172_800_000,
      delayMs: 250,
      tasks: {
        a: {
          task: {
            mock: { sleepMs: 2_000 },
            stdin: "aGk=",
            graceMs: 60_000,
            maxLogBytes: 8192,
            resources: { memoryBytes: 1_500_000_000 },
          },
        },
      },
    });
  });

  test.each([
    ["tasks: { a: { mock: {}, timeout: 30 } }", "tasks.a.timeout: must be a duration"],
    ["tasks: { a: { mock: {}, timeout: 9999d } }", "tasks.a.timeout: expected integer to be less"],
    ["tasks: { a: { mock: {}, tiemout: 30s } }", "tasks.a.tiemout: unknown field"],
    [
      "tasks: { a: { mock: {}, resources: { memory: 1Zi } } }",
      "tasks.a.resources.memory: must be a",
    ],
    [
      "tasks: { a: { mock: {}, retries: { backoff: x } } }",
      "tasks.a.retries.backoff: must be one of",
    ],
    [
      "tasks: { a: { process: { command: [] } } }",
      "tasks.a.process.command: expected array length",
    ],
    [
      "tasks: { a: { mock: {}, inputs: [{ object: b/k, path: ../x }] } }",
      "tasks.a.inputs.0.path: must",
    ],
    ["tasks: {}", "tasks: expected object to have"],
    ["name: x", "tasks: "],
    ["job: x\ntasks: { a: { mock: {} } }", "job: unknown field"],
    ["tasks: { a: { mock: {}, replicas: 10001 } }", "tasks.a.replicas: expected integer"],
    [
      "tasks: { a: { mock: {}, replicas: 9000 }, b: { mock: {}, replicas: 9000 } }",
      "tasks: 18000 tasks",
    ],
    ["tasks: { a: { mock: {}, dependsOn: [b] } }", 'tasks.a.dependsOn.0: there is no task "b"'],
    ["tasks: [1]", "tasks: expected object"],
    ["- 1", "the job is no mapping"],
    ["a: [", "job.yaml: "],
    ["a: 1\na: 2", "job.yaml: Map keys must be unique"],
  ])("%s is refused: %s", (text, said) => {
    expect(faultOf(text).message).toStartWith(said);
  });

  test("with a circle is refused with the circle named", () => {
    const fault = faultOf(`
tasks:
  root: { mock: {} }
  a: { mock: {}, dependsOn: [root, c] }
  b: { mock: {}, dependsOn: [a] }
  c: { mock: {}, dependsOn: [b] }
  leaf: { mock: {}, dependsOn: [c] }
`);
    expect(fault.message).toBe("tasks.a.dependsOn: the tasks wait for each other: a → c → b → a");
    expect(faultOf("tasks: { a: { mock: {}, dependsOn: [a] } }").message).toContain("a → a");
  });

  test("with 10,000 tasks in a row is no cycle and takes no long time", () => {
    const tasks = Object.fromEntries(
      Array.from({ length: 10_000 }, (_, i) => [
        `t${i}`,
        { mock: {}, ...(i === 0 ? {} : { dependsOn: [`t${i - 1}`] }) },
      ]),
    );
    const startedMs = performance.now();
    expect(Object.keys(jobFromFile({ tasks }).tasks)).toHaveLength(10_000);
    expect(performance.now() - startedMs).toBeLessThan(5_000);
  });
});

describe("parameters", () => {
  const file = `
params: { shards: 4, zone: eu, fast: true, date: null }
tasks:
  a:
    replicas: \${param.shards}
    mock: { hang: "\${param.fast}", print: "\${param.zone}-\${param.shards} $\${param.zone} \${HOME}" }
    labels: { date: "\${param.date}" }
`;

  test("are typed by their defaults and may be given", () => {
    const { task, replicas } = read(file, { shards: "8", date: "today" }).tasks["a"] ?? {};
    expect(replicas).toBe(8);
    expect(task?.mock).toEqual({ hang: true, print: "eu-8 $${param.zone} ${HOME}" });
    expect(task?.labels).toEqual({ date: "today" });
    expect(read(file, { date: "x" }).params).toEqual({
      shards: "4",
      zone: "eu",
      fast: "true",
      date: "x",
    });
  });

  test.each([
    [{ shards: "many", date: "x" }, 'params.shards: "many" is no number'],
    [{ fast: "yes", date: "x" }, 'params.fast: "yes" is neither true nor false'],
    [{ date: "x", nope: "1" }, "params.nope: the file has no such parameter"],
    [{}, "params.date: has no default"],
    [{ shards: "0", date: "x" }, "tasks.a.replicas: expected integer"],
  ])("%o is refused: %s", (given, said) => {
    expect(faultOf(file, given).message).toStartWith(said);
  });

  test("that do not exist are named by the path that asks for them", () => {
    const fault = faultOf("tasks: { a: { mock: { print: '${param.x}' } } }");
    expect(fault.message).toBe('tasks.a.mock.print: there is no parameter "x"');
  });
});

test("a fault of the server about a spec is one about the file", () => {
  const fault = fileFault(
    new Fault("invalid_argument", "spec.tasks.a.task.retries.delayMs: must be less", {
      field: "spec.tasks.a.task.retries.delayMs",
    }),
  );
  expect(fault.message).toBe("tasks.a.retries.delay: must be less");
  expect(fault.field).toBe("tasks.a.retries.delay");
});

test("the schema for editors lets a parameter stand for a number", () => {
  const text = JSON.stringify(editorSchema());
  expect(text).not.toContain("errorMessage");
  expect(text).toContain('"replicas":{"description":');
  expect(text).toContain("param");
});

describe("what is shown to people", () => {
  const root = join(import.meta.dir, "../../..");
  const files = [...new Glob("examples/jobs/*.yaml").scanSync(root)].toSorted();
  test.each(files)("%s is a job file", (path) => {
    const { spec } = readJobFile(parseJobFile(readFileSync(join(root, path), "utf8"), path));
    expect(spec.name).toBeDefined();
  });

  test("docs/jobs.md has only job files that are accepted", () => {
    const blocks = readFileSync(join(root, "docs/jobs.md"), "utf8").match(/(?<=```yaml\n)[^`]+/g);
    expect(blocks).toHaveLength(2);
    for (const text of blocks ?? []) {
      expect(readJobFile(parseJobFile(text, "docs/jobs.md")).spec.name).toBeDefined();
    }
  });
});
