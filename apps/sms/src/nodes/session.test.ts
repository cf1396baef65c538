/** The session protocol of a node, spoken by the test itself to a real SMS over real gRPC and Redis. */
import { ChannelCredentials, type ClientDuplexStream } from "@grpc/grpc-js";
import { TaskState } from "@spear/proto/gen/spear/common/v1/task.ts";
import {
  type AttemptReport,
  NodeServiceClient,
  type SessionRequest,
  type SessionResponse,
} from "@spear/proto/gen/spear/sms/v1/node.ts";
import { Fault } from "@spear/shared/fault.ts";
import { grpcFault, unary } from "@spear/shared/grpc/client.ts";
import { silentLog } from "@spear/shared/log.ts";
import type { Started } from "@spear/shared/program.ts";
import type { Event, Task } from "@spear/shared/task.ts";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { until } from "../../../../tests/programs.ts";
import { loadConfig } from "@spear/shared/config.ts";
import { smsConfig } from "../config.ts";
import { start } from "../sms.ts";

let sms: Started;
let client: NodeServiceClient;

beforeAll(async () => {
  const config = loadConfig("sms", smsConfig, {
    flags: {
      redisUrl: process.env["SPEAR_TEST_REDIS"],
      namespace: `t${Math.random().toString(36).slice(2, 10)}`,
      httpListen: "127.0.0.1:0",
      grpcListen: "127.0.0.1:0",
      leaseMs: 3_000,
      heartbeatMs: 200,
      reconcileMs: 100,
      nodeFaultLimit: 2,
      logLevel: "silent",
    },
    environment: {},
  });
  sms = await start(config, { log: silentLog });
  client = new NodeServiceClient(sms.grpc, ChannelCredentials.createInsecure());
});
afterAll(async () => {
  client.close();
  await sms[Symbol.asyncDispose]();
});

type Body = NonNullable<SessionResponse["body"]>;
type Bodies = { [B in Body as B["$case"]]: B["value"] };

/** A node that does as the test says. */
class ScriptedNode implements AsyncDisposable {
  readonly received: Body[] = [];
  id = "";
  failure: Fault | undefined;
  #stream: ClientDuplexStream<SessionRequest, SessionResponse> | undefined;
  #heart: ReturnType<typeof setInterval> | undefined;
  #nextReport = 1;
  readonly incarnation: string;
  readonly label: string;

  constructor(incarnation = "one", label = "") {
    this.incarnation = incarnation;
    this.label = label === "" ? Math.random().toString(36).slice(2) : label;
  }

  async join(slots = 10, id = ""): Promise<this> {
    const { nodeId } = await unary(client, client.register, {
      joinToken: "",
      nodeCredential: "",
      node: {
        id,
        name: "scripted",
        incarnation: this.incarnation,
        grpcAddress: "127.0.0.1:1",
        httpAddress: "",
        capacity: { cpu: 100, memoryBytes: 2 ** 40, slots, extras: {} },
        labels: { only: this.label },
        runtimes: [{ name: "mock", version: "1" }],
        facts: undefined,
        reserved: undefined,
        usage: undefined,
        state: 0,
        registeredAtMs: 0,
        lastSeenAtMs: 0,
      },
    });
    this.id = nodeId;
    return this;
  }

  async hello(held: { taskId: string; attempt: number }[] = []): Promise<this> {
    const stream = client.session();
    this.#stream = stream;
    stream.on("data", (message: SessionResponse) => {
      if (message.body !== undefined) this.received.push(message.body);
    });
    stream.on("error", (error) => {
      this.failure = grpcFault(error);
    });
    this.#send({
      $case: "hello",
      value: {
        nodeId: this.id,
        incarnation: this.incarnation,
        held,
        clusterId: "",
        session: 1,
        nodeCredential: "",
      },
    });
    await this.message("welcome");
    this.#heart = setInterval(() => {
      this.#send({
        $case: "heartbeat",
        value: { cpu: 0, memoryBytes: 1, running: 0, diskFreeBytes: 1, load1: 0 },
      });
    }, 200);
    return this;
  }

  #send(body: NonNullable<SessionRequest["body"]>): void {
    this.#stream?.write({ body });
  }

  /** The first message of a kind, once it has come. */
  message<K extends keyof Bodies>(kind: K): Promise<Bodies[K]> {
    return until<Bodies[K]>(`a ${kind} message`, () => {
      if (this.failure !== undefined) throw this.failure;
      return this.received.find((body) => body.$case === kind)?.value as Bodies[K] | undefined;
    });
  }

  /** Reports and waits for the answer; true if it was refused as stale. */
  async report(
    taskId: string,
    attempt: number,
    body: NonNullable<AttemptReport["body"]>,
  ): Promise<boolean> {
    const reportId = this.#nextReport++;
    const report = { reportId, taskId, attempt, atMs: Date.now(), body };
    this.#send({ $case: "reports", value: { reports: [report] } });
    return until("the acknowledgement", () =>
      this.received
        .flatMap((one) => (one.$case === "acks" ? one.value.acks : []))
        .filter((ack) => ack.reportId === reportId)
        .map((ack) => ({ stale: ack.stale }))
        .at(0),
    ).then(({ stale }) => stale);
  }

  claim(taskId: string, attempt = 1): Promise<boolean> {
    return this.report(taskId, attempt, { $case: "claim", value: { session: "" } });
  }

  exit(
    taskId: string,
    attempt: number,
    state: TaskState,
    more: { exitCode?: number; nodeFault?: boolean } = {},
  ): Promise<boolean> {
    return this.report(taskId, attempt, {
      $case: "exit",
      value: {
        state,
        signal: "",
        failure: undefined,
        outputs: [],
        hostcalls: [],
        usage: undefined,
        nodeFault: more.nodeFault ?? false,
        noOutput: false,
        exitCode: more.exitCode,
      },
    });
  }

  reply(readId: number, text: string, offset: number, done: boolean): void {
    this.#send({
      $case: "log",
      value: {
        readId,
        chunk: { stream: "stdout", data: Buffer.from(text), attempt: 1, offset, end: undefined },
        done,
        failure: undefined,
      },
    });
  }

  /** Stops answering at all, as a process that is frozen. */
  freeze(): void {
    clearInterval(this.#heart);
  }

  /** Breaks the session, as a process that died. */
  hangUp(): void {
    clearInterval(this.#heart);
    this.#stream?.cancel();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.hangUp();
    if (this.id !== "")
      await unary(client, client.deregister, { nodeId: this.id }).catch(() => undefined);
  }
}

async function api<T>(method: string, path: string, body?: unknown): Promise<T> {
  const response = await fetch(`http://${sms.http}${path}`, {
    method,
    ...(body === undefined
      ? {}
      : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
  });
  if (!response.ok) throw Fault.fromProblem((await response.json()) as object);
  return (await response.json()) as T;
}

const submit = (node: ScriptedNode, more: object = {}) =>
  api<Task>("POST", "/v1/tasks", {
    spec: { mock: {}, constraints: [`label.only == ${node.label}`], ...more },
  });
const get = (id: string) => api<Task>("GET", `/v1/tasks/${id}`);
const inState = (id: string, state: string) =>
  until(`${id} to be ${state}`, async () => {
    const task = await get(id);
    return task.state === state ? task : undefined;
  });

/** The code that a call is refused with. (`expect().rejects` would hold up the sockets it waits for.) */
const codeOf = (call: Promise<unknown>) =>
  call.then(
    () => "nothing was refused",
    (error: unknown) => Fault.from(error).code,
  );

describe("a session", () => {
  test("carries a task from submit to success", async () => {
    await using node = await (await new ScriptedNode().join()).hello();
    const task = await inState((await submit(node)).id, "assigned");
    expect(task).toMatchObject({ attempt: 1, nodeId: node.id });
    expect(await node.claim(task.id)).toBe(false);
    expect(await node.exit(task.id, 1, TaskState.SUCCEEDED, { exitCode: 0 })).toBe(false);
    expect(await get(task.id)).toMatchObject({ state: "succeeded", exitCode: 0 });
    const { events } = await api<{ events: Event[] }>("GET", `/v1/tasks/${task.id}/history`);
    expect(events.map((event) => event.to)).toEqual([
      "pending",
      "assigned",
      "running",
      "succeeded",
    ]);
  });

  test("must begin with hello, of a node that is known and current", async () => {
    const node = await new ScriptedNode().join();
    const stranger = new ScriptedNode();
    stranger.id = "node_01JD3T1V7Z8Q4N5M6P7R8S9T0A";
    expect(await codeOf(stranger.hello())).toBe("node_not_found");
    const older = new ScriptedNode("older");
    older.id = node.id;
    expect(await codeOf(older.hello())).toBe("stale_incarnation");
    await node[Symbol.asyncDispose]();
  });

  test("a repeated claim is allowed again, a foreign one is refused", async () => {
    await using node = await (await new ScriptedNode().join()).hello();
    await using other = await (await new ScriptedNode().join()).hello();
    const task = await inState((await submit(node)).id, "assigned");
    expect(await node.claim(task.id)).toBe(false);
    expect(await node.claim(task.id)).toBe(false);
    expect(await other.claim(task.id)).toBe(true);
    expect(await node.claim(task.id, 2)).toBe(true);
  });

  test("brings a cancellation to the node that runs the task", async () => {
    await using node = await (await new ScriptedNode().join()).hello();
    const task = await inState((await submit(node)).id, "assigned");
    await node.claim(task.id);
    await api("POST", `/v1/tasks/${task.id}/cancel`);
    expect(await node.message("cancel")).toEqual({ taskId: task.id, attempt: 1 });
    await node.exit(task.id, 1, TaskState.CANCELLED);
    expect(await get(task.id)).toMatchObject({ state: "cancelled" });
  });

  test("relays output to a reader", async () => {
    await using node = await (await new ScriptedNode().join()).hello();
    const task = await inState((await submit(node)).id, "assigned");
    await node.claim(task.id);
    const reading = fetch(`http://${sms.http}/v1/tasks/${task.id}/logs?stream=stdout`, {
      headers: { accept: "application/octet-stream" },
    });
    const read = await node.message("read");
    expect(read).toMatchObject({ taskId: task.id, attempt: 1, stream: "stdout", follow: false });
    node.reply(read.readId, "hello ", 0, false);
    node.reply(read.readId, "world", 6, true);
    expect(await (await reading).text()).toBe("hello world");
  });
});

describe("a failed attempt", () => {
  test("is tried again as the policy says, then is final", async () => {
    await using node = await (await new ScriptedNode().join()).hello();
    const task = await submit(node, { retries: { max: 1, delayMs: 1 } });
    await inState(task.id, "assigned");
    await node.claim(task.id);
    await node.exit(task.id, 1, TaskState.FAILED, { exitCode: 3 });
    const again = await until("attempt 2", async () => {
      const now = await get(task.id);
      return now.attempt === 2 && now.state === "assigned" ? now : undefined;
    });
    expect(again).toMatchObject({ failures: 1 });
    await node.claim(task.id, 2);
    await node.exit(task.id, 2, TaskState.FAILED, { exitCode: 4 });
    expect(await get(task.id)).toMatchObject({ state: "failed", exitCode: 4, failures: 2 });
  });

  test("with an exit code that is final is not tried again", async () => {
    await using node = await (await new ScriptedNode().join()).hello();
    const task = await submit(node, { retries: { max: 5, noRetryExitCodes: [9] } });
    await inState(task.id, "assigned");
    await node.claim(task.id);
    await node.exit(task.id, 1, TaskState.FAILED, { exitCode: 9 });
    expect(await get(task.id)).toMatchObject({ state: "failed", exitCode: 9 });
  });

  test("through the node's fault costs no retry, until the task has cost too many nodes", async () => {
    await using node = await (await new ScriptedNode().join()).hello();
    const task = await submit(node);
    for (let attempt = 1; attempt <= 3; attempt++) {
      await until(`attempt ${attempt}`, async () => {
        const now = await get(task.id);
        return now.attempt === attempt && now.state === "assigned";
      });
      await node.claim(task.id, attempt);
      await node.exit(task.id, attempt, TaskState.FAILED, { nodeFault: true });
    }
    expect(await get(task.id)).toMatchObject({
      state: "failed",
      failures: 0,
      failure: { code: "node_fault_limit" },
    });
  });
});

describe("a lost node", () => {
  test("whose lease runs out loses its tasks, and its late report is refused", async () => {
    await using node = await (await new ScriptedNode().join()).hello();
    const task = await inState((await submit(node)).id, "assigned");
    await node.claim(task.id);
    node.freeze();
    await inState(task.id, "pending");
    expect(await api("GET", `/v1/nodes/${node.id}`)).toMatchObject({
      state: "down",
      reserved: { slots: 0 },
    });
    expect(await node.exit(task.id, 1, TaskState.SUCCEEDED)).toBe(false);
    // Pending again under attempt 1: the record refuses what the state machine does not allow.
    expect(await get(task.id)).toMatchObject({ state: "pending", attempt: 1 });
    await using heir = await (await new ScriptedNode("one", node.label).join()).hello();
    await until("attempt 2", async () => (await get(task.id)).attempt === 2);
    expect(await node.exit(task.id, 1, TaskState.SUCCEEDED)).toBe(true);
    expect(await get(task.id)).toMatchObject({ state: "assigned", attempt: 2, nodeId: heir.id });
  });

  test("that comes back is told what is no longer its own", async () => {
    const node = await (await new ScriptedNode().join()).hello();
    const task = await inState((await submit(node)).id, "assigned");
    await node.claim(task.id);
    node.freeze();
    await inState(task.id, "pending");
    const label = node.label;
    await using heir = await (await new ScriptedNode("one", label).join()).hello();
    await until("attempt 2", async () => (await get(task.id)).attempt === 2);
    const back = new ScriptedNode(node.incarnation, `${label}-back`);
    await back.join(10, node.id);
    await back.hello([{ taskId: task.id, attempt: 1 }]);
    expect((await back.message("welcome")).disowned).toEqual([{ taskId: task.id, attempt: 1 }]);
    expect(await api("GET", `/v1/nodes/${node.id}`)).toMatchObject({ state: "ready" });
    expect(heir.id).not.toBe(back.id);
    await back[Symbol.asyncDispose]();
  });

  test("that restarts without its task has it tried again", async () => {
    const node = await (await new ScriptedNode("first").join()).hello();
    const task = await inState((await submit(node)).id, "assigned");
    await node.claim(task.id);
    await using next = await new ScriptedNode("second", node.label).join(10, node.id);
    await next.hello([]);
    const again = await until("attempt 2", async () => {
      const now = await get(task.id);
      return now.attempt === 2 ? now : undefined;
    });
    expect(again).toMatchObject({ state: "assigned", nodeId: node.id });
    node.freeze();
  });

  test("whose session breaks and for whom nobody listens is given up at once", async () => {
    const node = await (await new ScriptedNode().join()).hello();
    const task = await inState((await submit(node)).id, "assigned");
    await node.claim(task.id);
    node.hangUp();
    await inState(task.id, "pending");
    const { events } = await api<{ events: Event[] }>("GET", `/v1/tasks/${task.id}/history`);
    expect(events.at(-1)).toMatchObject({ from: "running", to: "pending", reason: "node_lost" });
  });
});

test("draining stops new tasks, undo starts them again", async () => {
  await using node = await (await new ScriptedNode().join()).hello();
  await api("POST", `/v1/nodes/${node.id}/drain`, {});
  const task = await submit(node);
  expect(task.state).toBe("pending");
  expect(await api("GET", `/v1/nodes/${node.id}`)).toMatchObject({ state: "draining" });
  await api("POST", `/v1/nodes/${node.id}/drain`, { undo: true });
  await inState(task.id, "assigned");
});

test("events stream over WebSocket from any point, in order and without a gap", async () => {
  await using node = await (await new ScriptedNode().join()).hello();
  const task = await inState((await submit(node)).id, "assigned");
  await node.claim(task.id);
  await node.exit(task.id, 1, TaskState.SUCCEEDED);
  const seen: Event[] = [];
  const socket = new WebSocket(`ws://${sms.http}/v1/events?after=0`);
  socket.addEventListener("message", (message) =>
    seen.push(JSON.parse(String(message.data)) as Event),
  );
  await until("the end of the task", () =>
    seen.some((one) => one.taskId === task.id && one.to === "succeeded"),
  );
  socket.close();
  expect(seen.map((one) => one.seq)).toEqual(seen.map((_, index) => index + 1));
});
