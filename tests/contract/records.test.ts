/**
 * The contract of the record store: whatever is asked in whatever order, Redis and
 * memory give the same answers and keep T2 to T5 after every step.
 */
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import { jobOfOne } from "@spear/shared/ids.ts";
import { exclusiveStopMs } from "@spear/shared/lease.ts";
import { silentLog } from "@spear/shared/log.ts";
import { connectRedis } from "@spear/shared/redis/client.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import { taskStates } from "@spear/shared/state.ts";
import type { Event, TaskSpec } from "@spear/shared/task.ts";
import { nodeStates } from "@spear/shared/node.ts";
import { afterAll, expect, test } from "bun:test";
import fc from "fast-check";
import { NodeRecords } from "../../apps/sms/src/nodes/redis.ts";
import type { NodeStore } from "../../apps/sms/src/nodes/store.ts";
import { eventsOf, needOf, type StreamEntry } from "../../apps/sms/src/tasks/record.ts";
import { TaskRecords } from "../../apps/sms/src/tasks/redis.ts";
import type { RecordStore } from "../../apps/sms/src/tasks/store.ts";
import { brokenIndex, brokenRoom, Replay } from "../sim/invariants.ts";
import { MemoryNodes } from "../sim/memory-nodes.ts";
import { MemoryTasks } from "../sim/memory-tasks.ts";
import { MemoryState } from "../sim/memory.ts";

const redis = connectRedis(process.env["SPEAR_TEST_REDIS"] ?? "", "commands", silentLog);
afterAll(() => redis.disconnect());

/** One implementation, empty. */
interface Store {
  tasks: RecordStore;
  nodes: NodeStore;
  /** The node's lease key runs out now. */
  expireLease(id: NodeId): Promise<unknown>;
  /** Another replica leads now. */
  setEpoch(epoch: number): Promise<unknown>;
  events(): Promise<Event[]>;
}

function inRedis(): Store {
  const keys = new Keys(`t${Math.random().toString(36).slice(2, 10)}`);
  return {
    tasks: new TaskRecords(redis, keys, 10_000),
    nodes: new NodeRecords(redis, keys, 10_000),
    expireLease: (id) => redis.del(keys.nodeLease(id)),
    setEpoch: (epoch) => redis.set(keys.leaderEpoch, epoch),
    events: async () => {
      const entries = (await redis.xrange(keys.events, "-", "+")) as StreamEntry[];
      return entries.flatMap(eventsOf);
    },
  };
}

function inMemory(): Store {
  const state = new MemoryState(Date.now);
  const events: Event[] = [];
  state.onEvent = (event) => events.push(event);
  return {
    tasks: new MemoryTasks(state),
    nodes: new MemoryNodes(state),
    expireLease: (id) => Promise.resolve(state.leaseKeys.delete(id)),
    setEpoch: (epoch) => Promise.resolve((state.leaderEpoch = epoch)),
    events: () => Promise.resolve([...events]),
  };
}

const taskId = (number: number) => `task_${String(number).padStart(26, "0")}` as TaskId;
const nodeId = (number: number) => `node_${String(number).padStart(26, "0")}` as NodeId;
const leaseMs = 600_000;
const failure = { code: "preempted", message: "for another" };

const specs: TaskSpec[] = [
  { mock: {}, resources: { cpu: 1, memoryBytes: 100 } },
  { mock: {}, resources: { cpu: 0.5, memoryBytes: 300, extras: { gpu: 1 } }, priority: 90 },
  { mock: {}, resources: { cpu: 0, memoryBytes: 0 }, antiAffinity: "job", retentionMs: 4 },
  {
    mock: {},
    resources: { cpu: 2, memoryBytes: 2 ** 40 },
    spread: { label: "zone" },
    priority: 10,
  },
  { mock: {}, resources: { cpu: 1, memoryBytes: 100 }, delayMs: 5, secrets: { A: "b" } },
];

const task = fc.nat(7);
const node = fc.nat(2);
const attempt = fc.nat(3);
const op = <const N extends string, A extends object>(
  name: N,
  fields: { [K in keyof A]: fc.Arbitrary<A[K]> },
) => fc.record({ op: fc.constant(name), ...fields }) as unknown as fc.Arbitrary<{ op: N } & A>;

const operation = fc.oneof(
  { weight: 6, arbitrary: op("submit", {
    task, spec: fc.nat(specs.length - 1), node: fc.option(node, { nil: undefined }),
    key: fc.option(fc.constantFrom("a", "b"), { nil: undefined, freq: 4 }), job: fc.nat(1),
  }) },
  { weight: 8, arbitrary: op("transition", {
    task, to: fc.constantFrom(...taskStates), attempt, node: fc.option(node, { nil: undefined }),
    delay: fc.constantFrom(0, 0, 10), fields: fc.constantFrom({}, { x: 3, sg: "SIGKILL" }, { fl: 2 }),
  }) },
  // The way that tasks go, so that long ways are gone too.
  { weight: 10, arbitrary: op("advance", { task, node, to: fc.constantFrom("succeeded", "failed", "pending") }) },
  { weight: 2, arbitrary: op("commit", { task, attempt, node }) },
  { weight: 2, arbitrary: op("cancel", { task }) },
  { weight: 2, arbitrary: op("evict", { task, attempt }) },
  { weight: 3, arbitrary: op("preempt", { task, node, victims: fc.subarray([0, 1, 2, 3, 4]), attempt: fc.constantFrom(1, 1, 2) }) },
  { weight: 1, arbitrary: op("drain", { node, until: fc.option(fc.nat(50), { nil: undefined }) }) },
  { weight: 1, arbitrary: op("cordon", { node, on: fc.boolean() }) },
  { weight: 1, arbitrary: op("label", { node, set: fc.subarray(["zone", "disk"]), remove: fc.subarray(["zone", "disk", "none"]) }) },
  { weight: 2, arbitrary: op("removeExpired", { limit: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 2, arbitrary: op("promote", { limit: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 2, arbitrary: op("hold", { node, task, forMs: fc.integer({ min: 0, max: 9 }) }) },
  { weight: 2, arbitrary: op("register", { node, run: fc.nat(1) }) },
  { weight: 2, arbitrary: op("heartbeat", { node, run: fc.nat(1), revive: fc.boolean(), has: fc.option(fc.subarray(["a", "b"]), { nil: undefined }) }) },
  { weight: 1, arbitrary: op("expireLease", { node }) },
  { weight: 1, arbitrary: op("setEpoch", { epoch: fc.nat(1) }) },
  { weight: 2, arbitrary: op("setState", {
    node, to: fc.constantFrom(...nodeStates), run: fc.option(fc.nat(1), { nil: undefined }), epoch: fc.option(fc.nat(1), { nil: undefined }), ifExpired: fc.boolean(),
  }) },
); // prettier-ignore
type Operation = typeof operation extends fc.Arbitrary<infer O> ? O : never;

function register(store: Store, number: number, run: number, now: number): Promise<unknown> {
  const capacity = { cpu: 2, memoryBytes: 2 ** 41, slots: 2 + number, extras: { gpu: 1 } };
  return store.nodes.register(
    {
      id: nodeId(number),
      name: `n${number}`,
      incarnation: `run${run}`,
      httpAddress: "",
      grpcAddress: "",
      capacity,
      labels: { zone: "eu" },
      runtimes: [],
      facts: { hostname: "", os: "", arch: "", version: "", pid: 0, killMethod: "" },
    },
    now,
    leaseMs,
  );
}

/** Does one thing; what the store answers. */
async function apply({ tasks, nodes, expireLease, setEpoch }: Store, one: Operation, now: number) {
  switch (one.op) {
    case "submit":
      return tasks.submit(
        {
          id: taskId(one.task),
          jobId: jobOfOne(taskId(one.job)),
          spec: specs[one.spec] as TaskSpec,
          idempotencyKey: one.key,
          nodeId: one.node === undefined ? undefined : nodeId(one.node),
        },
        now,
      );
    case "transition":
      return tasks.transition(
        {
          id: taskId(one.task),
          to: one.to,
          reason: "test",
          notBeforeMs: one.delay === 0 ? 0 : now + one.delay,
          set: one.fields,
          ...(one.attempt === 0 ? {} : { attempt: one.attempt }),
          ...(one.node === undefined ? {} : { nodeId: nodeId(one.node) }),
        },
        now,
      );
    case "advance": {
      const state = (await tasks.get(taskId(one.task)))?.task.state;
      const to = state === "pending" ? "assigned" : state === "assigned" ? "running" : one.to;
      const target = to === "assigned" ? { nodeId: nodeId(one.node) } : {};
      return tasks.transition({ id: taskId(one.task), to, reason: "step", ...target }, now);
    }
    case "commit":
      return tasks.beginCommit(
        taskId(one.task), one.attempt, nodeId(one.node), '[{"path":"x"}]', now, { x: 0 },
      ); // prettier-ignore
    case "cancel":
      return tasks.cancel(taskId(one.task), now);
    case "evict":
      return tasks.evict(taskId(one.task), one.attempt, failure, now);
    case "preempt": {
      // Whoever waits, and whoever is there at that attempt, so that most of these come about.
      const victims = one.victims.map((victim) => ({ id: taskId(victim), attempt: one.attempt }));
      return tasks.preempt(
        { nodeId: nodeId(one.node), taskId: taskId(one.task), untilMs: now + 9, failure, victims },
        now,
      );
    }
    case "drain":
      return nodes.drain(nodeId(one.node), one.until, now);
    case "cordon":
      return nodes.cordon(nodeId(one.node), one.on, now);
    case "label":
      return nodes.label(
        nodeId(one.node),
        { set: Object.fromEntries(one.set.map((name) => [name, name])), remove: one.remove },
        now,
      );
    case "removeExpired":
      return tasks.removeExpired(now, one.limit);
    case "promote":
      return tasks.promote(now, one.limit);
    case "hold":
      return nodes.hold(nodeId(one.node), taskId(one.task), now + one.forMs, now);
    case "register":
      return register({ tasks, nodes } as Store, one.node, one.run, now);
    case "heartbeat": {
      const cached = one.has === undefined ? {} : { cached: { names: one.has } };
      const usage = { cpu: 1, memoryBytes: 2, running: 3, diskFreeBytes: 4, load1: 5, ...cached };
      return nodes.heartbeat(nodeId(one.node), `run${one.run}`, usage, now, leaseMs, one.revive);
    }
    case "expireLease":
      await expireLease(nodeId(one.node));
      return undefined;
    case "setEpoch":
      await setEpoch(one.epoch);
      return undefined;
    case "setState":
      return nodes.setState(nodeId(one.node), one.to, "test", now, {
        ifExpired: one.ifExpired,
        ...(one.epoch === undefined ? {} : { epoch: one.epoch }),
        ...(one.run === undefined ? {} : { incarnation: `run${one.run}` }),
      });
  }
}

/** Everything that can be read, in a form that compares. */
async function readAll({ tasks, nodes }: Store, now: number) {
  const ids = Array.from({ length: 8 }, (_, number) => taskId(number));
  const nodeIds = [0, 1, 2].map(nodeId);
  const classes = await tasks.waitingClasses(0, 100);
  const [records, specsKept, staged, histories, ahead, held, list, siblings, waiting] =
    await Promise.all([
      tasks.getMany(ids),
      Promise.all(ids.map((id) => tasks.spec(id))),
      Promise.all(ids.map((id) => tasks.stagedOutputs(id))),
      Promise.all(ids.map((id) => tasks.history(id))),
      Promise.all(ids.map((id) => tasks.aheadOf(id))),
      Promise.all(nodeIds.map(async (id) => (await tasks.heldBy(id)).toSorted())),
      nodes.list(),
      Promise.all([0, 1].map((job) => tasks.siblings(jobOfOne(taskId(job))))),
      Promise.all(classes.map((one) => tasks.waiting(one.class, 3))),
    ]);
  const indexes = await Promise.all([
    tasks.idsBefore(undefined, undefined, 5),
    tasks.idsBefore(undefined, taskId(4), 5),
    ...taskStates.flatMap((state) => [
      tasks.idsAfter(state, undefined, 3),
      tasks.idsAfter(state, taskId(2), 3),
      tasks.idsBefore(state, taskId(5), 3),
    ]),
  ]);
  const counts = await Promise.all(taskStates.map((state) => tasks.countIn(state)));
  return {
    records, specsKept, staged, histories, ahead, held, list, waiting, indexes, counts, classes,
    siblings: siblings.map((one) => [...one].toSorted()),
    window: await tasks.waitingClasses(1, 1),
    due: await tasks.nextDueMs(),
    nodeIds: await nodes.ids(),
    usage: await Promise.all(nodeIds.map((id) => nodes.usage(id))),
    expired: (await nodes.expired(now + leaseMs - 5)).toSorted(),
  }; // prettier-ignore
}

/** T2 to T5, from what was read and the events so far. */
function broken(read: Awaited<ReturnType<typeof readAll>>, events: readonly Event[]): string[] {
  const replay = new Replay();
  const tasks = read.records.map((record) => record.task);
  return [
    ...events.flatMap((event) => replay.take(event)),
    ...tasks.flatMap((one) => replay.compare(one)),
    ...read.list.flatMap((one, index) => [
      ...brokenIndex(one.id, tasks, read.held[index] ?? []),
      ...brokenRoom(
        one,
        tasks
          .filter(({ id }) => read.held[index]?.includes(id as TaskId))
          .map(({ spec }) => needOf(spec)),
      ),
    ]),
    ...tasks
      .filter(
        (one) =>
          read.histories.flat().findLast((event) => event?.taskId === one.id)?.seq !== one.seq,
      )
      .map((one) => `T5: the history of ${one.id} is not whole`),
  ];
}

test("an exclusive task that was taken from a node waits until that must have stopped it", async () => {
  for (const store of [inRedis(), inMemory()]) {
    const { tasks } = store;
    const now = Date.now();
    for (const number of [0, 1]) await register(store, number, 0, now);
    const run = async (number: number, exclusive: boolean, reason: string) => {
      const id = taskId(number);
      const spec = { mock: {}, exclusive };
      const place = { id, jobId: jobOfOne(id), spec, idempotencyKey: undefined, nodeId: nodeId(0) };
      await tasks.submit(place, now);
      await tasks.transition({ id, to: "running", reason: "claimed" }, now);
      await tasks.transition({ id, to: "pending", reason }, now);
      const assign = { id, to: "assigned", nodeId: nodeId(1), reason: "placed" } as const;
      const waitMs = ((await tasks.get(id))?.notBeforeMs ?? 0) - now;
      return { code: (await tasks.transition(assign, now)).code, waitMs };
    };
    expect(await run(0, false, "node_lost")).toEqual({ code: "ok", waitMs: -now });
    expect(await run(1, true, "retry")).toEqual({ code: "ok", waitMs: -now });
    // The lease that the node may still count on, and the time that it takes to stop.
    const { code, waitMs } = await run(2, true, "node_lost");
    expect(code).toBe("no_capacity");
    expect(Math.abs(waitMs - leaseMs - exclusiveStopMs)).toBeLessThan(5_000);
  }
});

test("Redis and memory answer the same and keep T2 to T5", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { minLength: 10, maxLength: 40 }), async (operations) => {
      const stores = [inRedis(), inMemory()] as const;
      for (const store of stores) {
        for (const number of [0, 1, 2]) await register(store, number, 0, 1);
      }
      let now = 100;
      for (const one of operations) {
        now += 3;
        const answers = await Promise.all(stores.map((store) => apply(store, one, now)));
        expect(answers[1]).toEqual(answers[0]);
        const reads = await Promise.all(stores.map((store) => readAll(store, now)));
        expect(reads[1]).toEqual(reads[0]);
        const events = await Promise.all(stores.map((store) => store.events()));
        expect(events[1]).toEqual(events[0]);
        for (const [index, read] of reads.entries())
          expect(broken(read, events[index] ?? [])).toEqual([]);
      }
    }),
    { numRuns: 60 },
  );
});
