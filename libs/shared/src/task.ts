/**
 * The nouns of a task as schemas: what a user asks for (`TaskSpec`), what it
 * stands as (`Task`) and what happens to it (`Event`). They mirror
 * `spear/common/v1/task.proto` field by field; a test holds the two together.
 */
import { Type, type Static, type TSchema } from "@sinclair/typebox";
import { check } from "./check.ts";
import { Fault } from "./fault.ts";
import { checkGrants } from "./grants.ts";
import { taskStates } from "./state.ts";

export const runtimes = ["process", "docker", "wasm", "mock"] as const;
export type Runtime = (typeof runtimes)[number];

export const closed = { additionalProperties: false } as const;
const MIB = 1024 * 1024;
export const maxStdinBytes = 64 * 1024;

/** A string that must match, with the rule in words as its error. */
export const words = (
  pattern: string,
  errorMessage: string,
  maxLength: number,
  description: string,
) => Type.String({ pattern, maxLength, errorMessage, description });

export const oneOf = <T extends string>(values: readonly T[], description: string) =>
  Type.Union(
    values.map((value) => Type.Literal(value)),
    { description, errorMessage: `must be one of ${values.join(", ")}` },
  ) as unknown as TSchema & { static: T };

export const ms = (description: string, maximum = 365 * 86_400_000) =>
  Type.Integer({ minimum: 0, maximum, description: `${description}, in milliseconds` });

const argument = Type.String({
  maxLength: 128 * 1024,
  pattern: "^[^\\u0000]*$",
  errorMessage: "must be a text of at most 128 KiB without NUL",
});

export const relativePath = words(
  "^(?!/)(?!(?:.*/)?\\.{1,2}(?:/|$))[^\\u0000]+$",
  "must be a relative path without '.' or '..' parts",
  4096,
  "Relative path in the work directory.",
);

/** "bucket/key". */
const objectName = words(
  "^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^\\u0000]{1,1024}$",
  "must be bucket/key, where a bucket has 3–63 of a–z, 0–9, '.' and '-'",
  1100,
  "bucket/key of an object.",
);

export const labelMap = (description: string) =>
  Type.Record(
    Type.String({ pattern: "^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$" }),
    Type.String({ maxLength: 256 }),
    { ...closed, description, maxProperties: 64 },
  );

const envMap = (description: string) =>
  Type.Record(Type.String({ pattern: "^[A-Za-z_][A-Za-z0-9_]{0,255}$" }), argument, {
    ...closed,
    description,
    maxProperties: 1024,
  });

export const ProcessSpec = Type.Object(
  {
    command: Type.Array(argument, {
      minItems: 1,
      maxItems: 4096,
      description: "Program and its arguments; not passed through a shell.",
    }),
    user: Type.Optional(
      Type.String({ maxLength: 64, description: "Run as this user of the node." }),
    ),
    network: Type.Optional(
      oneOf(
        ["none", "host"],
        "Network in a sandbox. Default none; without a sandbox it is the host's.",
      ),
    ),
  },
  { ...closed, description: "A command run as a process." },
);

export const DockerSpec = Type.Object(
  {
    image: words(
      "^[A-Za-z0-9][A-Za-z0-9._:/@-]*$",
      "must be an image reference, as debian:12",
      512,
      "Image reference, as debian:12.",
    ),
    command: Type.Optional(
      Type.Array(argument, { maxItems: 4096, description: "Replaces the image's command." }),
    ),
    pull: Type.Optional(oneOf(["always", "missing", "never"], "When to pull. Default missing.")),
    network: Type.Optional(oneOf(["none", "bridge", "host"], "Network. Default none.")),
    readOnly: Type.Optional(Type.Boolean({ description: "Mount the root read-only." })),
    user: Type.Optional(Type.String({ maxLength: 64, description: "User inside the container." })),
    load: Type.Optional(objectName),
  },
  {
    ...closed,
    description:
      "A command run in a container. `load` names an object with the image as `docker save` writes it.",
  },
);

export const WasmSpec = Type.Object(
  {
    module: Type.String({
      minLength: 1,
      maxLength: 1100,
      description: "bucket/key of an object, sha256:… of an upload, or a URL with #sha256=….",
    }),
    args: Type.Optional(
      Type.Array(argument, { maxItems: 4096, description: "Arguments after the program name." }),
    ),
    engine: Type.Optional(oneOf(["jco", "direct"], "Engine for core modules.")),
    cpuSeconds: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 2 ** 31 - 1,
        description: "Most CPU time of an attempt, in seconds.",
      }),
    ),
    reuse: Type.Optional(
      Type.Boolean({
        description: "Run in a host that has run another such task, where the node allows it.",
      }),
    ),
  },
  { ...closed, description: "A WebAssembly guest." },
);

export const MockSpec = Type.Object(
  {
    sleepMs: Type.Optional(ms("Run this long")),
    print: Type.Optional(
      Type.String({ maxLength: MIB, description: "Print this on standard output." }),
    ),
    exitCode: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 255, description: "End with this exit code." }),
    ),
    hang: Type.Optional(Type.Boolean({ description: "Never end by itself." })),
    failAttempts: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 1000, description: "Fail this many first attempts." }),
    ),
  },
  { ...closed, description: "Behaviour of the mock agent, for tests and benchmarks." },
);

export const Resources = Type.Object(
  {
    cpu: Type.Optional(
      Type.Number({
        minimum: 0,
        maximum: 4096,
        description: "CPU cores, fractions allowed. Default 0.1.",
      }),
    ),
    memoryBytes: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 2 ** 50,
        description: "Memory in bytes. Default 64 MiB.",
      }),
    ),
    pids: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 2 ** 22,
        description: "Most processes and threads at once.",
      }),
    ),
    extras: Type.Optional(
      Type.Record(
        Type.String({ pattern: "^[a-z][a-z0-9-]{0,31}$" }),
        Type.Integer({ minimum: 0, maximum: 2 ** 20 }),
        {
          ...closed,
          description: 'Named countable extras, as {"gpu": 1}.',
          maxProperties: 16,
        },
      ),
    ),
  },
  { ...closed, description: "What a task needs while it runs." },
);

export const InputSpec = Type.Object({ object: objectName, path: relativePath }, closed);

export const OutputSpec = Type.Object(
  {
    path: relativePath,
    object: objectName,
    optional: Type.Optional(Type.Boolean({ description: "No error if the file is not there." })),
  },
  closed,
);

export const RetryPolicy = Type.Object(
  {
    max: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 1000, description: "How many times to try again." }),
    ),
    backoff: Type.Optional(
      oneOf(["fixed", "exponential"], "How the delay grows. Default exponential."),
    ),
    delayMs: Type.Optional(ms("First delay; default 1,000")),
    maxDelayMs: Type.Optional(ms("Longest delay; default 300,000")),
    noRetryExitCodes: Type.Optional(
      Type.Array(Type.Integer({ minimum: 0, maximum: 255 }), {
        maxItems: 256,
        description: "Exit codes that are final at once.",
      }),
    ),
  },
  { ...closed, description: "What happens after a failed attempt." },
);

/** What a user asks for; exactly one runtime is set. */
export const TaskSpec = Type.Object(
  {
    name: Type.Optional(
      words(
        "^[A-Za-z0-9][A-Za-z0-9._-]*$",
        "must be letters, digits, '.', '_' and '-', and start with one of the first two",
        128,
        "Name for people.",
      ),
    ),
    process: Type.Optional(ProcessSpec),
    docker: Type.Optional(DockerSpec),
    wasm: Type.Optional(WasmSpec),
    mock: Type.Optional(MockSpec),
    env: Type.Optional(envMap("Environment of the command; nothing else is inherited.")),
    stdin: Type.Optional(
      Type.String({
        pattern: "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
        maxLength: Math.ceil(maxStdinBytes / 3) * 4,
        errorMessage: "must be base64 of at most 64 KiB",
        description: "Bytes given on standard input, base64.",
      }),
    ),
    resources: Type.Optional(Resources),
    inputs: Type.Optional(
      Type.Array(InputSpec, {
        maxItems: 1024,
        description: "Objects put into the work directory first.",
      }),
    ),
    outputs: Type.Optional(
      Type.Array(OutputSpec, {
        maxItems: 1024,
        description: "Files that become objects on success.",
      }),
    ),
    timeoutMs: Type.Optional(ms("Longest time an attempt may run; 0: no limit")),
    graceMs: Type.Optional(ms("Time between SIGTERM and SIGKILL; default 5,000", 3_600_000)),
    retries: Type.Optional(RetryPolicy),
    priority: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 100, description: "0 to 100, the highest. Default 50." }),
    ),
    constraints: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 512 }), {
        maxItems: 64,
        description: "Hard conditions on the node, as label.zone == eu.",
      }),
    ),
    labels: Type.Optional(labelMap("Free labels.")),
    hostcalls: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 512 }), {
        maxItems: 256,
        description: "What the task may ask of its node, as object.read:corpus/*.",
      }),
    ),
    nodeId: Type.Optional(
      words("^node_[0-7][0-9A-HJKMNP-TV-Z]{25}$", "is not a node id", 31, "Run on this node only."),
    ),
    sandbox: Type.Optional(oneOf(["none", "namespace"], "Sandbox. Default: the node's.")),
    keep: Type.Optional(
      Type.Boolean({ description: "Keep the work directory after the attempt." }),
    ),
    maxLogBytes: Type.Optional(
      Type.Integer({
        minimum: 4096,
        maximum: 2 ** 40,
        description: "How much of each output stream is kept. Default 64 MiB.",
      }),
    ),
    delayMs: Type.Optional(ms("Do not start before this long after the submit")),
    affinities: Type.Optional(
      Type.Array(
        Type.Object(
          {
            constraint: Type.String({ minLength: 1, maxLength: 512 }),
            weight: Type.Integer({ minimum: -100, maximum: 100 }),
          },
          closed,
        ),
        { maxItems: 64, description: "Soft conditions on the node with a weight." },
      ),
    ),
    exclusive: Type.Optional(
      Type.Boolean({
        description: "Never let two attempts overlap, even while the network is cut.",
      }),
    ),
    retentionMs: Type.Optional(ms("How long the record and logs are kept after the end")),
    record: Type.Optional(Type.Boolean({ description: "Record hostcalls and clocks for replay." })),
    secrets: Type.Optional(envMap("Secrets by environment name.")),
    spread: Type.Optional(
      Type.Object(
        {
          label: words(
            "^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$",
            "must be the name of a label",
            63,
            "Label of nodes, as zone. Nodes without it count as one value.",
          ),
        },
        { ...closed, description: "Even out the job's tasks over the values of a node label." },
      ),
    ),
    antiAffinity: Type.Optional(
      oneOf(
        ["job", "none"],
        "job: never two tasks of the job that ask for it on one node. Default none.",
      ),
    ),
    preemptible: Type.Optional(
      Type.Boolean({
        description:
          "A task of higher priority may take its room, where SMS preempts: it waits again then, at no cost for its retries. Default true.",
      }),
    ),
  },
  {
    ...closed,
    $id: "TaskSpec",
    description: "What to run. Exactly one of process, docker, wasm and mock.",
  },
);
export type TaskSpec = Static<typeof TaskSpec>;

/** Defaults of what a spec leaves out. */
export const specDefaults = {
  cpu: 0.1,
  memoryBytes: 64 * MIB,
  graceMs: 5_000,
  priority: 50,
  maxLogBytes: 64 * MIB,
  retryDelayMs: 1_000,
  retryMaxDelayMs: 300_000,
} as const;

/** The runtime that a checked spec names. */
export function runtimeOf(spec: TaskSpec): Runtime {
  const found = runtimes.find((runtime) => spec[runtime] !== undefined);
  if (found === undefined) throw new Fault("internal", "a stored spec names no runtime");
  return found;
}

/**
 * Checks a spec from outside: shape, bounds, exactly one runtime, no path given twice.
 * Throws `invalid_argument` with the field's path below `root`.
 */
export function checkTaskSpec(value: unknown, root = "spec"): TaskSpec {
  const spec = check(TaskSpec, value, root);
  const named = runtimes.filter((runtime) => spec[runtime] !== undefined);
  if (named.length !== 1) {
    throw new Fault(
      "invalid_argument",
      named.length === 0
        ? `${root}: no runtime is given`
        : `${root}: ${named.join(" and ")} are both given`,
      {
        field: named.length === 0 ? root : `${root}.${named[1]}`,
        help: `give exactly one of ${runtimes.join(", ")}, as "process": {"command": ["echo", "hi"]}`,
      },
    );
  }
  const command = spec.process?.command;
  if (command?.[0] === "") {
    throw new Fault("invalid_argument", `${root}.process.command.0: must not be empty`, {
      field: `${root}.process.command.0`,
    });
  }
  checkGrants(spec.hostcalls ?? [], `${root}.hostcalls`);
  if (spec.record === true) checkRecordable(spec, root);
  for (const list of ["inputs", "outputs"] as const) {
    const seen = new Set<string>();
    for (const [index, { path }] of (spec[list] ?? []).entries()) {
      if (seen.has(path)) {
        const field = `${root}.${list}.${index}.path`;
        throw new Fault("invalid_argument", `${field}: "${path}" is given twice`, { field });
      }
      seen.add(path);
    }
  }
  return spec;
}

/** Throws `invalid_argument` for a task whose run can't be recorded. */
function checkRecordable(spec: TaskSpec, root: string): void {
  if (spec.wasm === undefined) {
    throw new Fault("invalid_argument", `${root}.record: only a wasm task can be recorded`, {
      field: `${root}.record`,
    });
  }
  if (Object.keys(spec.secrets ?? {}).length > 0) {
    throw new Fault("invalid_argument", `${root}.record: a recording would hold the secrets`, {
      field: `${root}.record`,
      help: `leave out ${root}.record or ${root}.secrets`,
    });
  }
}

export const Failure = Type.Object(
  { code: Type.String(), message: Type.String() },
  { description: "Why something did not succeed." },
);
export type Failure = Static<typeof Failure>;

export const OutputObject = Type.Object({
  path: Type.String(),
  object: Type.String(),
  objectId: Type.String(),
  sizeBytes: Type.Integer(),
});
export type OutputObject = Static<typeof OutputObject>;

export const Usage = Type.Object({ cpuMs: Type.Integer(), maxMemoryBytes: Type.Integer() });
export type Usage = Static<typeof Usage>;

export const TaskStateSchema = oneOf(taskStates, "State of a task.");

/** A task as it stands. */
export const Task = Type.Object(
  {
    id: Type.String({ description: "task_…" }),
    jobId: Type.String({ description: "job_…; a single task is a job of one." }),
    name: Type.String(),
    spec: Type.Ref(TaskSpec),
    state: TaskStateSchema,
    attempt: Type.Integer({
      description: "Number of the current or last attempt; the fencing token.",
    }),
    nodeId: Type.Optional(Type.String()),
    runtime: oneOf(runtimes, "Runtime."),
    seq: Type.Integer({ description: "Sequence number of its last event." }),
    createdAtMs: Type.Integer(),
    assignedAtMs: Type.Optional(Type.Integer()),
    startedAtMs: Type.Optional(Type.Integer()),
    finishedAtMs: Type.Optional(Type.Integer()),
    exitCode: Type.Optional(Type.Integer()),
    signal: Type.Optional(Type.String()),
    failure: Type.Optional(Failure),
    cancelRequested: Type.Boolean(),
    outputs: Type.Array(OutputObject),
    usage: Type.Optional(Usage),
    failures: Type.Integer({ description: "Failed attempts counted against the retry policy." }),
    parentId: Type.Optional(
      Type.String({ description: "task_… that submitted it by a hostcall, if one did." }),
    ),
  },
  { $id: "Task", description: "A task as it stands." },
);
export type Task = Omit<Static<typeof Task>, "spec"> & { spec: TaskSpec };

/** One change in the cluster; events are totally ordered by `seq`. */
export const Event = Type.Object(
  {
    seq: Type.Integer(),
    atMs: Type.Integer(),
    kind: Type.String({
      description:
        "task.state, task.cancel_requested, task.evict_requested, task.removed, node.state, node.changed, job.state or job.removed.",
    }),
    taskId: Type.Optional(Type.String()),
    jobId: Type.Optional(Type.String()),
    nodeId: Type.Optional(Type.String()),
    attempt: Type.Integer(),
    from: Type.String(),
    to: Type.String(),
    reason: Type.String(),
    exitCode: Type.Optional(Type.Integer()),
  },
  { $id: "Event", description: "One change in the cluster." },
);
export type Event = Static<typeof Event>;

/** How long to wait before try number `failures` + 1, in milliseconds. */
export function retryDelayMs(spec: TaskSpec, failures: number): number {
  const first = spec.retries?.delayMs ?? specDefaults.retryDelayMs;
  const most = spec.retries?.maxDelayMs ?? specDefaults.retryMaxDelayMs;
  if (spec.retries?.backoff === "fixed") return Math.min(first, most);
  return Math.min(first * 2 ** Math.max(0, failures - 1), most);
}
