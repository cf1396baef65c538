/** The scheduler over records in memory and simulated time: order, fairness and what a step costs. */
import { jobOfOne, type NodeId, type TaskId } from "@spear/shared/ids.ts";
import { silentLog } from "@spear/shared/log.ts";
import type { Event, TaskSpec } from "@spear/shared/task.ts";
import { describe, expect, test } from "bun:test";
import { MemoryNodes } from "../../../../tests/sim/memory-nodes.ts";
import { MemoryTasks } from "../../../../tests/sim/memory-tasks.ts";
import { MemoryState } from "../../../../tests/sim/memory.ts";
import { Process, startMs, World } from "../../../../tests/sim/world.ts";
import type { RecordStore } from "../tasks/store.ts";
import type { Dispatch } from "./dispatch.ts";
import type { Policy } from "./place.ts";
import { Preemptor } from "./preemptor.ts";
import { Scheduler } from "./scheduler.ts";
import { nodeView, taskIdOf } from "./samples.ts";
import { ClusterView } from "./view.ts";

interface NodeOptions {
  cpu?: number;
  slots?: number;
  zone?: string;
  cached?: string[];
}

/** One scheduler, its store, and nodes that do nothing unless the test says so. */
class Bench {
  readonly world = new World(1);
  readonly process = new Process(this.world, "sms");
  readonly state = new MemoryState(() => this.world.nowMs);
  readonly tasks = new MemoryTasks(this.state);
  readonly nodes = new MemoryNodes(this.state);
  /** Calls of the record store by name. */
  readonly calls = new Map<string, number>();
  /** Attempts in the order in which they were placed. */
  readonly placed: { task: number; nodeId: NodeId }[] = [];
  readonly scheduler: Scheduler;
  /** What a node does with an attempt. */
  run: (id: TaskId, attempt: number, nodeId: NodeId, spec: TaskSpec) => void = () => undefined;

  constructor(options: { policy?: Policy; reserveAfterMs?: number; preemptEveryMs?: number } = {}) {
    this.process.begin();
    const listeners = new Set<(event: Event) => void>();
    // As the reader of the stream: those of one moment come together.
    let fresh: Event[] = [];
    this.state.onEvent = (event) => {
      if (fresh.push(event) > 1) return;
      this.process.after(1, () => {
        const all = fresh;
        fresh = [];
        for (const one of all) for (const listener of listeners) listener(one);
      });
    };
    const view = new ClusterView(this.nodes, this.process, options.policy ?? "binpack");
    const dispatcher: Dispatch = {
      send: (nodeId, { taskId, attempt, spec }) => {
        this.placed.push({ task: Number(taskId.slice(5)), nodeId });
        this.run(taskId, attempt, nodeId, spec);
      },
      sendAgain: () => undefined,
      forget: () => Promise.resolve(),
      settled: () => Promise.resolve(),
    };
    const records = this.#counted();
    const everyMs = options.preemptEveryMs;
    this.scheduler = new Scheduler({
      records,
      view,
      dispatcher,
      preemptor:
        everyMs === undefined
          ? undefined
          : new Preemptor({
              records,
              view,
              clock: this.process,
              everyMs,
              log: silentLog,
            }),
      events: {
        listen: (listener) => {
          listeners.add(listener);
          return () => listeners.delete(listener);
        },
      },
      clock: this.process,
      reserveAfterMs: options.reserveAfterMs ?? 1_000_000,
      log: silentLog,
    });
  }

  #counted(): RecordStore {
    return new Proxy(this.tasks, {
      get: (target, name) => {
        const method = Reflect.get(target, name) as (...args: unknown[]) => unknown;
        return (...args: unknown[]) => {
          this.calls.set(String(name), (this.calls.get(String(name)) ?? 0) + 1);
          return Reflect.apply(method, target, args);
        };
      },
    });
  }

  addNode(
    number: number,
    { cpu = 4, slots = 100, zone = "eu", cached = [] }: NodeOptions = {},
  ): NodeId {
    const { id } = nodeView(number);
    const registration = {
      id,
      name: `n${number}`,
      incarnation: "i",
      httpAddress: "",
      grpcAddress: "",
      capacity: { cpu, memoryBytes: 2 ** 40, slots, extras: {} },
      labels: { zone },
      runtimes: [{ name: "mock", version: "" }],
      facts: { hostname: "", os: "", arch: "", version: "", pid: 0, killMethod: "" },
    };
    const usage = {
      cpu: 0,
      memoryBytes: 0,
      running: 0,
      diskFreeBytes: 0,
      load1: 0,
      cached: { names: cached },
    };
    void this.nodes.register(registration, this.world.nowMs, 1e9);
    void this.nodes.heartbeat(id, "i", usage, this.world.nowMs, 1e9);
    return id;
  }

  submit(number: number, spec: Partial<TaskSpec> & { cpu?: number }, job = number): void {
    const { cpu = 1, ...more } = spec;
    void this.tasks.submit(
      {
        id: taskIdOf(number),
        jobId: jobOfOne(taskIdOf(job)),
        spec: { mock: {}, resources: { cpu, memoryBytes: 1 }, ...more },
        idempotencyKey: undefined,
        nodeId: undefined,
      },
      this.world.nowMs,
    );
  }

  /** Lets so much time pass. */
  pass(ms: number): void {
    this.world.runUntil(this.world.nowMs + ms, () => false);
    this.world.nowMs = Math.max(this.world.nowMs, startMs);
  }

  get order(): number[] {
    return this.placed.map(({ task }) => task);
  }

  end(id: TaskId, attempt: number, nodeId: NodeId): void {
    const now = this.world.nowMs;
    void this.tasks.transition({ id, to: "running", attempt, nodeId, reason: "claimed" }, now);
    void this.tasks.transition({ id, to: "succeeded", attempt, nodeId, reason: "exited" }, now);
  }
}

describe("order", () => {
  test("the highest priority first, across classes, and of equal ones the oldest", () => {
    const bench = new Bench();
    bench.submit(1, { priority: 10 });
    bench.submit(2, { priority: 90, cpu: 0.5 });
    bench.submit(3, { priority: 50 });
    bench.submit(4, { priority: 50, cpu: 0.5 });
    bench.submit(5, { priority: 100 });
    bench.addNode(1);
    bench.pass(2_000);
    expect(bench.order).toEqual([5, 2, 3, 4, 1]);
  });

  test("what has waited long enough passes a higher priority", () => {
    const bench = new Bench();
    bench.submit(1, { priority: 40 });
    bench.pass(110_000);
    bench.submit(2, { priority: 50 });
    bench.addNode(1, { cpu: 1 });
    bench.pass(2_000);
    expect(bench.order).toEqual([1]);
  });

  test("a class whose first fits nowhere holds no other up", () => {
    const bench = new Bench();
    bench.addNode(1, { cpu: 2 });
    bench.submit(1, { cpu: 3, priority: 100 });
    for (let number = 2; number < 4; number++) bench.submit(number, {});
    bench.pass(2_000);
    expect(bench.order).toEqual([2, 3]);
  });

  test("all that fit are placed at once, however many", () => {
    const bench = new Bench();
    bench.addNode(1, { cpu: 4_000, slots: 3_000 });
    for (let number = 1; number <= 2_500; number++) bench.submit(number, {});
    bench.pass(500);
    expect(bench.order).toEqual(Array.from({ length: 2_500 }, (_, index) => index + 1));
  });
});

describe("a large task among small ones that never end", () => {
  /** Small tasks of 300 ms keep a node of four cores busy; when the large one got its turn. */
  function waited(reserveAfterMs: number): number | undefined {
    const bench = new Bench({ reserveAfterMs });
    bench.addNode(1);
    let next = 100;
    bench.run = (id, attempt, nodeId) =>
      bench.process.after(300, () => bench.end(id, attempt, nodeId));
    const feed = () => {
      bench.submit(next++, { priority: 60 });
      bench.process.after(50, feed);
    };
    feed();
    bench.pass(1_000);
    bench.submit(1, { cpu: 4, priority: 50 });
    const since = bench.world.nowMs;
    bench.world.runUntil(since + 60_000, () => bench.order.includes(1));
    return bench.order.includes(1) ? bench.world.nowMs - since : undefined;
  }

  test("is passed for ever without a reservation", () => {
    expect(waited(1_000_000)).toBeUndefined();
  });

  test("gets a node soon after its reservation window, and the small ones go on", () => {
    expect(waited(5_000)).toBeLessThan(9_000);
  });

  test("keeps no node that it would not fit into empty", () => {
    const bench = new Bench({ reserveAfterMs: 0 });
    bench.addNode(1, { cpu: 2 });
    bench.submit(1, { cpu: 3 });
    bench.pass(5_000);
    bench.submit(2, {});
    bench.pass(2_000);
    expect(bench.order).toEqual([2]);
  });
});

describe("what a step costs", () => {
  /** Calls for a waking with nothing to place, after `count` tasks of `classes` classes wait. */
  function callsWith(count: number, classes: number): number {
    const bench = new Bench();
    bench.addNode(1, { cpu: 1 });
    for (let number = 1; number <= count; number++)
      bench.submit(number, { cpu: 2 + (number % classes) / 1_000 });
    bench.pass(3_000);
    bench.calls.clear();
    bench.scheduler.wake();
    bench.pass(1);
    return [...bench.calls.values()].reduce((sum, calls) => sum + calls, 0);
  }

  test("does not grow with the backlog", () => {
    expect(callsWith(20_000, 5)).toBe(callsWith(10, 5));
  });

  test("is bounded in the number of classes, and no class is forgotten", () => {
    expect(callsWith(2_000, 2_000)).toBeLessThan(600);
    const bench = new Bench();
    bench.addNode(1, { cpu: 1 });
    for (let number = 1; number <= 1_000; number++)
      bench.submit(number, { cpu: 2 + number / 1_000 });
    bench.submit(2_000, { cpu: 1, priority: 0 });
    bench.pass(20_000);
    expect(bench.order).toEqual([2_000]);
  });
});

describe("tasks that heed their job", () => {
  test("are evened out over zones, whatever was there before", () => {
    const bench = new Bench();
    const zones = new Map(
      [1, 2, 3].map((number) => [
        bench.addNode(number, { cpu: 50, zone: `z${number}` }),
        `z${number}`,
      ]),
    );
    for (let number = 1; number <= 30; number++)
      bench.submit(number, { spread: { label: "zone" } }, 1);
    bench.pass(2_000);
    const counts = Object.groupBy(bench.placed, ({ nodeId }) => zones.get(nodeId) as string);
    expect(Object.values(counts).map((all) => all?.length)).toEqual([10, 10, 10]);
  });

  test("are alone on their nodes; the rest waits until one is free", () => {
    const bench = new Bench();
    for (let number = 1; number <= 3; number++) bench.addNode(number);
    for (let number = 1; number <= 5; number++) bench.submit(number, { antiAffinity: "job" }, 1);
    bench.submit(9, { antiAffinity: "job" }, 9);
    bench.pass(2_000);
    expect(bench.order.toSorted()).toEqual([1, 2, 3, 9]);
    const first = bench.placed.find(({ task }) => task === 1);
    bench.end(taskIdOf(1), 1, first?.nodeId as NodeId);
    bench.pass(2_000);
    expect(bench.order).toContain(4);
    expect(bench.order).not.toContain(5);
  });
});

describe("preemption", () => {
  const stateOf = (bench: Bench, number: number) =>
    bench.tasks.read(taskIdOf(number))?.task ?? { state: "none", attempt: 0, failures: 0 };
  const reasonsOf = async (bench: Bench, number: number) =>
    (await bench.tasks.history(taskIdOf(number)))?.map(({ reason }) => reason);

  test("gives the room of a lower priority away; the victim waits again and loses no try", async () => {
    const bench = new Bench({ preemptEveryMs: 100 });
    bench.addNode(1, { cpu: 2 });
    for (const number of [1, 2]) bench.submit(number, { priority: 10, retries: { max: 0 } });
    bench.pass(1_000);
    bench.submit(3, { priority: 90 });
    bench.pass(2_000);
    expect(bench.order).toEqual([1, 2, 3]);
    const victim = stateOf(bench, 2).state === "pending" ? 2 : 1;
    expect(stateOf(bench, victim)).toMatchObject({
      state: "pending",
      attempt: 1,
      failures: 0,
      failure: { code: "preempted" },
    });
    expect(await reasonsOf(bench, victim)).toEqual(["submitted", "placed", "preempted"]);
    // The fencing number grows when it gets its next turn.
    bench.end(taskIdOf(3), 1, nodeView(1).id);
    bench.pass(2_000);
    expect(stateOf(bench, victim)).toMatchObject({ state: "assigned", attempt: 2, failures: 0 });
  });

  test("asks a running attempt to leave, and keeps its room until it has", async () => {
    const bench = new Bench({ preemptEveryMs: 100 });
    const nodeId = bench.addNode(1, { cpu: 1 });
    bench.submit(1, { priority: 10 });
    bench.pass(1_000);
    const id = taskIdOf(1);
    void bench.tasks.transition(
      { id, to: "running", attempt: 1, nodeId, reason: "claimed" },
      bench.world.nowMs,
    );
    bench.submit(2, { priority: 90 });
    bench.submit(3, { priority: 80 });
    bench.pass(3_000);
    expect(bench.tasks.read(id)?.evicting?.code).toBe("preempted");
    expect(await reasonsOf(bench, 1)).toEqual(["submitted", "placed", "claimed", "preempted"]);
    const back = { id, to: "pending", attempt: 1, nodeId, reason: "preempted" } as const;
    void bench.tasks.transition(back, bench.world.nowMs);
    bench.pass(2_000);
    expect(bench.order).toEqual([1, 2]);
    expect(stateOf(bench, 3).state).toBe("pending");
  });

  test("never for an equal priority, nor for a task that would not fit the empty node", () => {
    const bench = new Bench({ preemptEveryMs: 100 });
    bench.addNode(1, { cpu: 2 });
    bench.submit(1, { priority: 50, cpu: 2 });
    bench.pass(1_000);
    bench.submit(2, { priority: 50 });
    bench.submit(3, { priority: 100, cpu: 3 });
    bench.pass(10_000);
    expect(bench.order).toEqual([1]);
  });

  test("finds a high priority behind a long backlog of equal need, and is bounded in its rate", () => {
    const bench = new Bench({ preemptEveryMs: 1_000 });
    bench.addNode(1, { cpu: 8 });
    for (let number = 1; number <= 100; number++) bench.submit(number, { priority: 10 });
    bench.pass(2_000_000);
    for (let number = 101; number <= 108; number++) bench.submit(number, { priority: 90 });
    bench.pass(3_500);
    const urgent = () => bench.order.filter((number) => number > 100).length;
    expect(urgent()).toBeGreaterThan(0);
    expect(urgent()).toBeLessThanOrEqual(4);
    bench.pass(20_000);
    expect(urgent()).toBe(8);
  });
});

test("of nodes with room the one that has the input already", () => {
  const bench = new Bench();
  bench.addNode(1);
  const near = bench.addNode(2, { cached: ["data/a"] });
  bench.submit(1, { inputs: [{ object: "data/a", path: "a" }] });
  bench.pass(2_000);
  expect(bench.placed).toEqual([{ task: 1, nodeId: near }]);
});

test("a node that was lost lately comes last", () => {
  const bench = new Bench();
  const lost = bench.addNode(1);
  const steady = bench.addNode(2);
  void bench.nodes.setState(lost, "down", "lease_expired", bench.world.nowMs);
  void bench.nodes.heartbeat(lost, "i", undefined, bench.world.nowMs, 1e9, true);
  bench.submit(1, {});
  bench.pass(2_000);
  expect(bench.placed).toEqual([{ task: 1, nodeId: steady }]);
});
