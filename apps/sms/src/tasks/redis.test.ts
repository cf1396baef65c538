/** Task records against a real Redis: the scripts hold T2, T3, T4 and T5 whatever is asked. */
import { silentLog } from "@spear/shared/log.ts";
import { systemIds, type NodeId, type TaskId, jobOfOne } from "@spear/shared/ids.ts";
import { connectRedis } from "@spear/shared/redis/client.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import { isPlaced, isTerminal, type TaskState, transitions } from "@spear/shared/state.ts";
import type { TaskSpec } from "@spear/shared/task.ts";
import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { NodeRecords } from "../nodes/redis.ts";
import { eventsOf, type StreamEntry } from "./record.ts";
import { TaskRecords } from "./redis.ts";

const redis = connectRedis(process.env["SPEAR_TEST_REDIS"] ?? "", "commands", silentLog);
afterAll(() => redis.disconnect());

const spec: TaskSpec = { mock: {}, resources: { cpu: 1, memoryBytes: 100 } };
let keys: Keys;
let records: TaskRecords;
let nodes: NodeRecords;

function fresh(): void {
  keys = new Keys(`t${Math.random().toString(36).slice(2, 10)}`);
  records = new TaskRecords(redis, keys, 10_000);
  nodes = new NodeRecords(redis, keys, 10_000);
}
beforeEach(fresh);

async function addNode(slots: number, cpu = 100): Promise<NodeId> {
  const id = systemIds.next("node");
  await nodes.register(
    {
      id,
      name: "n",
      incarnation: "i1",
      httpAddress: "",
      grpcAddress: "",
      capacity: { cpu, memoryBytes: 10_000, slots, extras: { gpu: 1 } },
      labels: {},
      runtimes: [],
      facts: { hostname: "", os: "", arch: "", version: "", pid: 0, killMethod: "" },
    },
    1,
    60_000,
  );
  return id;
}

async function submit(node?: NodeId, more: Partial<TaskSpec> = {}): Promise<TaskId> {
  const id = systemIds.next("task");
  await records.submit(
    {
      id,
      jobId: jobOfOne(id),
      spec: { ...spec, ...more },
      idempotencyKey: undefined,
      nodeId: node,
    },
    10,
  );
  return id;
}

const stateOf = async (id: TaskId) => (await records.get(id))?.task.state;

describe("submit", () => {
  test("assigns at once where the proposed node has room, and waits where it has none", async () => {
    const node = await addNode(1);
    const first = await submit(node);
    const second = await submit(node);
    expect(await stateOf(first)).toBe("assigned");
    expect(await stateOf(second)).toBe("pending");
    expect((await nodes.get(node))?.reserved).toMatchObject({ cpu: 1, memoryBytes: 100, slots: 1 });
  });

  test("never passes one of the same class that waits", async () => {
    const full = await addNode(0);
    const waiting = await submit(full);
    const roomy = await addNode(5);
    const late = await submit(roomy);
    expect(await stateOf(late)).toBe("pending");
    expect(await records.waitingClasses(0, 10)).toMatchObject([{ head: waiting }]);
  });

  test("gives the same task for the same idempotency key, also at the same time", async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => {
        const id = systemIds.next("task");
        return records.submit(
          { id, jobId: jobOfOne(id), spec, idempotencyKey: "k", nodeId: undefined },
          1,
        );
      }),
    );
    expect(new Set(answers.map((answer) => answer.id)).size).toBe(1);
    expect(answers.filter((answer) => answer.created)).toHaveLength(1);
    expect(await records.countIn("pending")).toBe(1);
  });

  test("keeps a delayed task until its time, then lets it wait for a node", async () => {
    const id = await submit(undefined, { delayMs: 50 });
    expect(await records.waitingClasses(0, 10)).toEqual([]);
    expect(await records.nextDueMs()).toBe(60);
    expect(await records.promote(59, 10)).toBe(0);
    expect(await records.promote(60, 10)).toBe(1);
    expect((await records.waitingClasses(0, 10))[0]?.head).toBe(id);
  });

  test("reserves countable extras and refuses what is more than there is", async () => {
    const node = await addNode(5);
    const gpu = { resources: { cpu: 1, memoryBytes: 1, extras: { gpu: 1 } } };
    expect(await stateOf(await submit(node, gpu))).toBe("assigned");
    expect(await stateOf(await submit(node, gpu))).toBe("pending");
    expect((await nodes.get(node))?.reserved.extras).toEqual({ gpu: 1 });
  });
});

describe("fencing (T3)", () => {
  test("refuses whatever a stale attempt says", async () => {
    const [a, b] = [await addNode(1), await addNode(1)];
    const id = await submit(a);
    expect(
      (
        await records.transition(
          { id, to: "running", attempt: 1, nodeId: a, reason: "claimed" },
          20,
        )
      ).code,
    ).toBe("ok");
    await records.transition({ id, to: "pending", attempt: 1, nodeId: a, reason: "node_lost" }, 30);
    const placed = await records.transition(
      { id, to: "assigned", nodeId: b, reason: "placed" },
      40,
    );
    expect(placed).toMatchObject({ code: "ok", attempt: 2 });
    for (const to of ["running", "succeeded", "failed", "pending", "cancelled"] as const) {
      const late = await records.transition({ id, to, attempt: 1, nodeId: a, reason: "late" }, 50);
      expect(late.code).toBe("stale");
    }
    expect(await records.beginCommit(id, 1, a, "[]", 50, {})).toBe("stale");
    expect((await records.get(id))?.task).toMatchObject({
      state: "assigned",
      attempt: 2,
      nodeId: b,
    });
  });

  test("refuses the right attempt from the wrong node", async () => {
    const [a, b] = [await addNode(1), await addNode(1)];
    const id = await submit(a);
    const claim = await records.transition(
      { id, to: "running", attempt: 1, nodeId: b, reason: "claimed" },
      20,
    );
    expect(claim.code).toBe("stale");
  });

  test("once a commit has begun only success may follow", async () => {
    const node = await addNode(1);
    const id = await submit(node);
    await records.transition(
      { id, to: "running", attempt: 1, nodeId: node, reason: "claimed" },
      20,
    );
    expect(await records.beginCommit(id, 1, node, '[{"path":"x"}]', 30, { x: 0 })).toBe("ok");
    const lost = await records.transition(
      { id, to: "pending", attempt: 1, reason: "node_lost" },
      40,
    );
    expect(lost.code).toBe("committing");
    expect(
      (await records.transition({ id, to: "succeeded", attempt: 1, reason: "exited" }, 50)).code,
    ).toBe("ok");
    expect((await records.get(id))?.task).toMatchObject({
      state: "succeeded",
      outputs: [{ path: "x" }],
    });
  });
});

test("a task that needs nothing but a slot gives it back", async () => {
  const node = await addNode(1);
  const id = await submit(node, { resources: { cpu: 0, memoryBytes: 0 } });
  await records.transition({ id, to: "running", attempt: 1, nodeId: node, reason: "claimed" }, 20);
  await records.transition({ id, to: "succeeded", attempt: 1, nodeId: node, reason: "exited" }, 30);
  expect((await nodes.get(node))?.reserved).toMatchObject({ cpu: 0, memoryBytes: 0, slots: 0 });
});

describe("cancel", () => {
  test("ends a waiting task at once, asks for a running one, leaves an ended one", async () => {
    const node = await addNode(2);
    const waiting = await submit();
    expect((await records.cancel(waiting, 20)).code).toBe("cancelled");
    expect(await records.waitingClasses(0, 10)).toEqual([]);
    const running = await submit(node);
    await records.transition(
      { id: running, to: "running", attempt: 1, nodeId: node, reason: "claimed" },
      20,
    );
    expect((await records.cancel(running, 30)).code).toBe("requested");
    expect((await records.get(running))?.task).toMatchObject({
      state: "running",
      cancelRequested: true,
    });
    expect((await records.cancel(waiting, 40)).code).toBe("terminal");
  });

  test("a wish to cancel outlives the node: the task is not tried again", async () => {
    const node = await addNode(1);
    const id = await submit(node);
    await records.transition(
      { id, to: "running", attempt: 1, nodeId: node, reason: "claimed" },
      20,
    );
    await records.cancel(id, 30);
    await records.transition(
      { id, to: "pending", attempt: 1, nodeId: node, reason: "node_lost" },
      40,
    );
    expect(await stateOf(id)).toBe("cancelled");
  });
});

/** Any sequence of calls, sensible or not, on a few tasks and nodes. */
const operation = fc.oneof(
  fc.record({ op: fc.constant("submit" as const), node: fc.nat(1) }),
  fc.record({
    op: fc.constant("move" as const),
    task: fc.nat(3),
    to: fc.constantFrom<TaskState>(...(Object.keys(transitions) as TaskState[])),
    attempt: fc.nat(3),
    node: fc.nat(1),
  }),
  fc.record({ op: fc.constant("cancel" as const), task: fc.nat(3) }),
);

test("any sequence of calls keeps T2 to T5", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { maxLength: 30 }), async (operations) => {
      fresh();
      const nodeIds = [await addNode(2, 2), await addNode(1, 1)];
      const ids: TaskId[] = [];
      const ended = new Map<TaskId, string>();
      let now = 100;
      for (const step of operations) {
        now++;
        const node = "node" in step ? nodeIds[step.node] : undefined;
        const id = "task" in step ? ids[step.task] : undefined;
        if (step.op === "submit") ids.push(await submit(node));
        else if (id !== undefined && step.op === "cancel") await records.cancel(id, now);
        else if (id !== undefined && step.op === "move" && node !== undefined) {
          await records.transition(
            {
              id,
              to: step.to,
              reason: "test",
              ...(step.attempt === 0 ? {} : { attempt: step.attempt }),
              nodeId: node,
            },
            now,
          );
        }
        await checkInvariants(nodeIds, ids, ended);
      }
      await checkEvents(ids);
    }),
    { numRuns: 60 },
  );
});

async function checkInvariants(
  nodeIds: NodeId[],
  ids: TaskId[],
  ended: Map<TaskId, string>,
): Promise<void> {
  const tasks = (await records.getMany(ids)).map((record) => record.task);
  for (const task of tasks) {
    const id = task.id as TaskId;
    const before = ended.get(id);
    if (before !== undefined) expect(task.state).toBe(before as TaskState); // T2
    if (isTerminal(task.state)) ended.set(id, task.state);
  }
  for (const nodeId of nodeIds) {
    const node = await nodes.get(nodeId);
    const held = tasks.filter((task) => task.nodeId === nodeId && isPlaced(task.state));
    expect(node?.reserved.slots).toBe(held.length); // T4: what is reserved is what is held …
    expect(node?.reserved.cpu).toBe(held.length);
    expect(held.length).toBeLessThanOrEqual(node?.capacity.slots ?? 0); // … and fits
    expect((await records.heldBy(nodeId)).toSorted()).toEqual(
      held.map((task) => task.id as TaskId).toSorted(),
    );
  }
  for (const state of Object.keys(transitions) as TaskState[]) {
    const count = tasks.filter((task) => task.state === state).length;
    expect(await records.countIn(state)).toBe(count);
    const counted = (await records.counts()).filter((one) => one.state === state);
    expect(counted.reduce((sum, one) => sum + one.count, 0)).toBe(count);
  }
}

/** T5: replaying the stream gives exactly the records, and so does each history. */
async function checkEvents(ids: TaskId[]): Promise<void> {
  const entries = (await redis.xrange(keys.events, "-", "+")) as StreamEntry[];
  const replayed = new Map<string, { state: string; attempt: number; seq: number }>();
  let last = 0;
  for (const event of entries.flatMap(eventsOf)) {
    expect(event.seq).toBe(++last);
    if (event.taskId !== undefined) {
      replayed.set(event.taskId, { state: event.to, attempt: event.attempt, seq: event.seq });
    }
  }
  for (const id of ids) {
    const task = (await records.get(id))?.task;
    expect(replayed.get(id)).toEqual({
      state: task?.state ?? "",
      attempt: task?.attempt ?? 0,
      seq: task?.seq ?? 0,
    });
    expect((await records.history(id))?.at(-1)?.seq).toBe(task?.seq);
  }
}

test("a change that can't be carried out stops no other of its turn", async () => {
  const node = await addNode(5);
  const [sound, broken] = [await submit(node), await submit(node)];
  await redis.hset(keys.task(broken), "nc", "no number");
  const end = (id: TaskId) =>
    records.transition(
      { id, to: "pending", attempt: 1, nodeId: node, reason: "refused", set: { nf: 1 } },
      20,
    );
  const [, refused] = await Promise.allSettled([end(sound), end(broken)]);
  expect(refused).toMatchObject({ status: "rejected" });
  expect(await stateOf(sound)).toBe("pending");
  expect((await nodes.get(node))?.reserved.slots).toBe(1);
});
