/**
 * Bad input over both transports: each gets a typed error that names the field,
 * the same over REST and gRPC, and nothing is stored.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { Fault, type FaultCode, type Problem } from "@spear/shared/fault.ts";
import { Redis } from "ioredis";
import { World, type Json } from "./world.ts";

let world: World;
let redis: Redis;
let before: unknown;

/** All that a submit or a put could leave behind: the number of tasks, events and objects. */
async function stored(): Promise<unknown> {
  const { tasks } = await world.cluster.api<{ tasks: Json[] }>("GET", "/v1/tasks?pageSize=1000");
  const { buckets } = (await world.rest("store", "GET /v1/buckets")).json;
  const streams = await redis.keys("*}:events");
  const events = await Promise.all(streams.map((stream) => redis.xlen(stream)));
  return { tasks: tasks.length, buckets: (buckets as Json[]).length, events };
}

beforeAll(async () => {
  world = await World.start();
  redis = new Redis(world.cluster.redis.url);
  await world.unary("store", "ObjectStore/CreateBucket", { name: "bad-input" });
});
afterAll(async () => {
  redis.disconnect();
  await world[Symbol.asyncDispose]();
});
beforeEach(async () => {
  before = await stored();
});
afterEach(async () => {
  expect(await stored()).toEqual(before);
});

const mock = {};
const process = { command: ["true"] };

/** Specs that both transports can carry, and the field that is named. */
const specs: [string, Json, string][] = [
  ["no runtime", {}, "spec"],
  ["two runtimes", { mock, process }, "spec.mock"],
  ["a missing command", { process: {} }, "spec.process.command"],
  ["an empty command", { process: { command: [""] } }, "spec.process.command.0"],
  ["NUL in an argument", { process: { command: ["a\u0000"] } }, "spec.process.command.0"],
  ["negative cpu", { mock, resources: { cpu: -1 } }, "spec.resources.cpu"],
  ["absurd cpu", { mock, resources: { cpu: 1e12 } }, "spec.resources.cpu"],
  ["negative memory", { mock, resources: { memoryBytes: -1 } }, "spec.resources.memoryBytes"],
  ["absurd memory", { mock, resources: { memoryBytes: 2 ** 52 } }, "spec.resources.memoryBytes"],
  ["no processes", { mock, resources: { pids: 0 } }, "spec.resources.pids"],
  ["a negative extra", { mock, resources: { extras: { gpu: -1 } } }, "spec.resources.extras.gpu"],
  ["a path trick in the name", { mock, name: "../../etc" }, "spec.name"],
  [
    "a path trick in an input",
    { mock, inputs: [{ object: "corpus/a", path: "../a" }] },
    "spec.inputs.0.path",
  ],
  [
    "an absolute output",
    { mock, outputs: [{ path: "/etc/passwd", object: "corpus/a" }] },
    "spec.outputs.0.path",
  ],
  [
    "a hidden path trick in an output",
    { mock, outputs: [{ path: "a/../../b", object: "corpus/a" }] },
    "spec.outputs.0.path",
  ],
  [
    "an object without a key",
    { mock, inputs: [{ object: "corpus", path: "a" }] },
    "spec.inputs.0.object",
  ],
  [
    "a bucket that is a path trick",
    { mock, inputs: [{ object: "../corpus/a", path: "a" }] },
    "spec.inputs.0.object",
  ],
  ["a negative timeout", { mock, timeoutMs: -1 }, "spec.timeoutMs"],
  ["an absurd timeout", { mock, timeoutMs: 2 ** 50 }, "spec.timeoutMs"],
  ["a priority beyond the highest", { mock, priority: 101 }, "spec.priority"],
  ["too many retries", { mock, retries: { max: 1_000_000 } }, "spec.retries.max"],
  ["an unknown backoff", { mock, retries: { backoff: "often" } }, "spec.retries.backoff"],
  ["a bad name of a variable", { mock, env: { "A=B": "x" } }, "spec.env.A=B"],
  ["an id of no node", { mock, nodeId: "node_1" }, "spec.nodeId"],
  ["an unknown sandbox", { mock, sandbox: "vm" }, "spec.sandbox"],
];

/** Bodies that only JSON can say. */
const bodies: [string, unknown, string | undefined][] = [
  ["an unknown field", { spec: { mock, shell: true } }, "spec.shell"],
  ["an unknown runtime", { spec: { kubernetes: {} } }, "spec.kubernetes"],
  ["an unknown field beside the spec", { spec: { mock }, when: "now" }, "when"],
  ["a number as a command", { spec: { process: { command: 1 } } }, "spec.process.command"],
  ["a string as a number", { spec: { mock, resources: { cpu: "1" } } }, "spec.resources.cpu"],
  ["a list as a spec", { spec: [] }, "spec"],
  ["no spec", {}, "spec"],
  ["no object", [], undefined],
  ["null", null, undefined],
];

/** The code and the field of a rejection. */
async function refusal(call: Promise<unknown>): Promise<{ code: FaultCode; field?: string }> {
  const error: unknown = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof Fault)) throw new Error("it was not refused", { cause: error });
  expect(error.message).not.toMatch(/\n|\.ts:|node_modules/);
  return { code: error.code, ...(error.field === undefined ? {} : { field: error.field }) };
}

describe("submitting a task", () => {
  test.each(specs)("with %s over REST", async (_, spec, field) => {
    const call = { body: { spec } };
    expect(await world.problem("sms", "POST /v1/tasks", call)).toMatchObject({
      code: "invalid_argument",
      field,
    });
  });

  test.each(specs)("with %s over gRPC", async (_, spec, field) => {
    expect(await refusal(world.unary("sms", "TaskService/SubmitTask", { spec }))).toEqual({
      code: "invalid_argument",
      field,
    });
  });

  test.each(specs)("with %s at a node", async (_, spec, field) => {
    const call = { body: { spec } };
    expect(await world.problem("spearlet", "POST /v1/tasks", call)).toMatchObject({
      code: "invalid_argument",
      field,
    });
  });

  test.each(bodies)("with %s", async (_, body, field) => {
    const problem = await world.problem("sms", "POST /v1/tasks", { body });
    expect({ code: problem.code, field: problem.field }).toEqual({
      code: "invalid_argument",
      field,
    });
  });

  test("without a spec over gRPC", async () => {
    expect(await refusal(world.unary("sms", "TaskService/SubmitTask", {}))).toEqual({
      code: "invalid_argument",
      field: "spec",
    });
  });

  test("with a bad one among many", async () => {
    const body = { specs: [{ mock }, { mock, priority: -1 }, { mock }] };
    expect(await world.problem("sms", "POST /v1/tasks:batch", { body })).toMatchObject({
      code: "invalid_argument",
      field: "specs.1.priority",
    });
  });

  /** The fields of all that a refusal names. */
  const fields = ({ errors = [] }: Pick<Problem, "errors">) => errors.map(({ field }) => field);

  test("with several bad ones among many each is named, over both transports", async () => {
    const shapes = [{ mock }, { mock, priority: -1 }, { mock, nope: 1 }, { mock, timeoutMs: -1 }];
    const body = { specs: shapes };
    expect(fields(await world.problem("sms", "POST /v1/tasks:batch", { body }))).toEqual(
      expect.arrayContaining(["specs.1.priority", "specs.2.nope", "specs.3.timeoutMs"]),
    );
    const specs = [
      { mock, priority: -1 },
      { mock },
      { mock, process },
      { mock, constraints: ["x"] },
    ];
    const named = ["specs.0.priority", "specs.2.mock", "specs.3.constraints.0"];
    const error: unknown = await world
      .unary("sms", "TaskService/SubmitTasks", { specs })
      .catch((thrown: unknown) => thrown);
    expect(fields(error as Fault)).toEqual(named);
    const valid = { body: { specs: specs.slice(1) } };
    const { errors } = await world.problem("sms", "POST /v1/tasks:batch", valid);
    expect(errors).toEqual([
      { field: "specs.1.mock", message: "process and mock are both given" },
      { field: "specs.2.constraints.0", message: '"x" is not a condition' },
    ]);
  });

  test("with a body that is no JSON", async () => {
    const call = { body: '{"spec":', headers: { "content-type": "application/json" } };
    expect(await world.problem("sms", "POST /v1/tasks", call)).toMatchObject({
      code: "invalid_argument",
      field: "body",
    });
  });

  test("with a body over the limit", async () => {
    const body = { spec: { process: { command: ["true", "x".repeat(17 << 20)] } } };
    expect(await world.problem("sms", "POST /v1/tasks", { body })).toMatchObject({
      code: "payload_too_large",
    });
  });

  test("with a message over the limit", async () => {
    const spec = { process: { command: ["true", "x".repeat(5 << 20)] } };
    const { code } = await refusal(world.unary("sms", "TaskService/SubmitTask", { spec }));
    expect(code).toBe("too_many_requests");
  });
});

const wrongIds = [
  "task_1",
  "node_01JD3T1V7Z8Q4N5M6P7R8S9T0A",
  "../../etc/passwd",
  "%00",
  "x".repeat(500),
];
const unknownTask = "task_01JD3T1V7Z8Q4N5M6P7R8S9T0A";
const unknownNode = "node_01JD3T1V7Z8Q4N5M6P7R8S9T0A";

describe("a wrong id", () => {
  test.each(wrongIds)("%s", async (id) => {
    for (const operation of [
      "GET /v1/tasks/{id}",
      "POST /v1/tasks/{id}/cancel",
      "GET /v1/tasks/{id}/logs",
      "GET /v1/tasks/{id}/history",
      "GET /v1/nodes/{id}",
    ]) {
      const other = operation.includes("nodes") && id.startsWith("node_");
      if (other) continue;
      expect(await world.problem("sms", operation, { path: { id } })).toMatchObject({
        code: "invalid_argument",
        field: "id",
      });
    }
    for (const method of ["GetTask", "CancelTask"]) {
      const call = world.unary("sms", `TaskService/${method}`, { taskId: id });
      expect(await refusal(call)).toEqual({ code: "invalid_argument", field: "taskId" });
    }
  });

  test("that is well formed is not found", async () => {
    const path = { id: unknownTask };
    for (const operation of ["GET /v1/tasks/{id}", "GET /v1/tasks/{id}/logs"]) {
      for (const program of ["sms", "spearlet"] as const) {
        expect((await world.problem(program, operation, { path })).code).toBe("task_not_found");
      }
    }
    const get = world.unary("sms", "TaskService/GetTask", { taskId: unknownTask });
    expect((await refusal(get)).code).toBe("task_not_found");
    const node = await world.problem("sms", "GET /v1/nodes/{id}", { path: { id: unknownNode } });
    expect(node.code).toBe("node_not_found");
  });
});

describe("listing tasks", () => {
  test.each([
    [{ pageSize: "0" }, "query.pageSize"],
    [{ pageSize: "1001" }, "query.pageSize"],
    [{ pageSize: "ten" }, "query.pageSize"],
    [{ state: "asleep" }, "query.state.0"],
    [{ runtime: "kubernetes" }, "query.runtime"],
    [{ page: "2" }, "query.page"],
    [{ label: "zone" }, "label"],
    [{ nodeId: "node_1" }, "nodeId"],
    [{ pageToken: "%%%" }, "pageToken"],
  ])("with %j", async (query, field) => {
    expect(await world.problem("sms", "GET /v1/tasks", { query })).toMatchObject({
      code: "invalid_argument",
      field,
    });
  });

  test.each([
    [{ pageSize: -1 }, "pageSize"],
    [{ pageSize: 1_001 }, "pageSize"],
    [{ states: [99] }, "states.0"],
    [{ runtime: "kubernetes" }, "runtime"],
    [{ nodeId: "node_1" }, "nodeId"],
    [{ pageToken: "%%%" }, "pageToken"],
  ])("with %j over gRPC", async (request, field) => {
    expect(await refusal(world.unary("sms", "TaskService/ListTasks", request))).toEqual({
      code: "invalid_argument",
      field,
    });
  });
});

describe("the store", () => {
  test.each(["../etc", "A", "ab", "-abc", "a_b", "x".repeat(64), "a..b/c"])(
    "refuses the bucket %s",
    async (bucket) => {
      const call = { path: { bucket } };
      expect((await world.problem("store", "PUT /v1/buckets/{bucket}", call)).code).toBe(
        "invalid_argument",
      );
      const create = world.unary("store", "ObjectStore/CreateBucket", { name: bucket });
      expect((await refusal(create)).code).toBe("invalid_argument");
    },
  );

  test.each([
    ["a key that is too long", "k".repeat(1_025)],
    ["NUL in a key", "a\u0000b"],
  ])("refuses %s", async (_, key) => {
    const path = { bucket: "bad-input", key };
    const call = { path, body: "x" };
    const operation = "PUT /v1/buckets/{bucket}/objects/{key}";
    expect(await world.problem("store", operation, call)).toMatchObject({
      code: "invalid_argument",
      field: "key",
    });
    const put = world.upload("store", "ObjectStore/PutObject", [
      { header: path },
      { data: "eA==" },
    ]);
    expect((await refusal(put)).code).toBe("invalid_argument");
  });

  test("refuses an object whose bytes are not what was said", async () => {
    const path = { bucket: "bad-input", key: "wrong" };
    const operation = "PUT /v1/buckets/{bucket}/objects/{key}";
    const headers = { "x-spear-sha256": "0".repeat(64) };
    expect((await world.problem("store", operation, { path, body: "x", headers })).code).toBe(
      "checksum_mismatch",
    );
    const put = world.upload("store", "ObjectStore/PutObject", [
      { header: { ...path, sizeBytes: "2" } },
      { data: "eA==" },
    ]);
    expect((await refusal(put)).code).toBe("invalid_argument");
    const get = await world.problem("store", "GET /v1/buckets/{bucket}/objects/{key}", { path });
    expect(get.code).toBe("object_not_found");
  });

  test("refuses data before a header, and no header", async () => {
    for (const requests of [[], [{ data: "eA==" }]]) {
      const put = world.upload("store", "ObjectStore/PutObject", requests);
      expect((await refusal(put)).code).toBe("invalid_argument");
    }
  });

  test("refuses to put into, list or copy to a bucket that is not there", async () => {
    const path = { bucket: "nowhere", key: "k" };
    const put = { path, body: "x" };
    expect((await world.problem("store", "PUT /v1/buckets/{bucket}/objects/{key}", put)).code).toBe(
      "bucket_not_found",
    );
    const list = await world.problem("store", "GET /v1/buckets/{bucket}/objects", { path });
    expect(list.code).toBe("bucket_not_found");
  });

  test("refuses a range that lies outside", async () => {
    const path = { bucket: "bad-input", key: "ranged" };
    await world.rest("store", "PUT /v1/buckets/{bucket}/objects/{key}", { path, body: "hello" });
    const headers = { range: "bytes=99-" };
    const operation = "GET /v1/buckets/{bucket}/objects/{key}";
    expect((await world.problem("store", operation, { path, headers })).code).toBe(
      "range_not_satisfiable",
    );
  });
});

test("an unknown path and a wrong method are problems too", async () => {
  for (const program of ["sms", "spearlet", "store"] as const) {
    expect((await world.problem(program, "GET /v1/nothing")).code).toBe("not_found");
    expect((await world.problem(program, "PATCH /healthz")).status).toBeGreaterThanOrEqual(404);
  }
});
