/**
 * What SMS tells Prometheus. The figures are the cluster's, so every replica gives the
 * same: scrape all, but don't add them up. Times of tasks are taken from their events.
 */
import type { Event } from "@spear/shared/task.ts";
import { isPlaced, type TaskState } from "@spear/shared/state.ts";
import type { NodeId } from "@spear/shared/ids.ts";
import type { Metrics } from "@spear/shared/metrics.ts";
import type { Redis } from "ioredis";
import type { EventLog } from "../events/events.ts";
import type { JobRecords } from "../jobs/redis.ts";
import type { NodeStore } from "../nodes/store.ts";
import type { Dispatcher } from "../scheduler/dispatch.ts";
import type { Leader } from "../scheduler/leader.ts";
import type { TaskRecords } from "../tasks/redis.ts";

export interface SmsMetricsDeps {
  metrics: Metrics;
  redis: Redis;
  tasks: Pick<TaskRecords, "counts" | "nextDueMs">;
  jobs: Pick<JobRecords, "counts">;
  nodes: Pick<NodeStore, "list">;
  dispatcher: Pick<Dispatcher, "depth">;
  events: Pick<EventLog, "listen" | "last">;
  leader: Pick<Leader, "epoch">;
}

/** From an idle cluster to a task that waits or runs for hours, in seconds. */
const phaseSeconds = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200,
  43_200,
];
/** Tasks whose last change is remembered; of more, the oldest are not timed. */
const mostTimed = 100_000;

/** Registers all metrics of SMS; returns how to stop listening. */
export function registerMetrics(deps: SmsMetricsDeps): () => void {
  const { metrics, redis, tasks, jobs, nodes, dispatcher, events, leader } = deps;
  metrics.gauge("spear_tasks", "Tasks by runtime and state.", ["runtime", "state"], async () =>
    (await tasks.counts()).map(({ runtime, state, count }) => [{ runtime, state }, count]),
  );
  metrics.gauge("spear_jobs", "Jobs by state.", ["state"], async () =>
    (await jobs.counts()).map(({ state, count }) => [{ state }, count]),
  );
  metrics.gauge("spear_nodes", "Nodes by state.", ["state"], async () => {
    const byState = Map.groupBy(await nodes.list(), ({ state }) => state);
    return [...byState].map(([state, all]) => [{ state }, all.length]);
  });
  metrics.gauge(
    "spear_node_slots",
    "Slots of a node, in all and reserved.",
    ["node", "kind"],
    async () =>
      (await nodes.list()).flatMap(({ id, capacity, reserved }) => [
        [{ node: id, kind: "capacity" }, capacity.slots],
        [{ node: id, kind: "reserved" }, reserved.slots],
      ]),
  );
  metrics.gauge(
    "spear_queue_depth",
    "Deliveries that wait in a node's queue.",
    ["node"],
    async () => {
      const ids = (await nodes.list()).flatMap(({ id, state }) => (state === "left" ? [] : [id]));
      return Promise.all(
        ids.map(async (id) => [{ node: id }, await dispatcher.depth(id as NodeId)] as const),
      );
    },
  );
  metrics.gauge("spear_redis_round_trip_seconds", "Time of one PING.", [], async () => {
    const start = performance.now();
    await redis.ping();
    return [[{}, (performance.now() - start) / 1000]];
  });
  metrics.gauge("spear_leader", "1 on the replica that runs the singletons.", [], () => [
    [{}, leader.epoch === undefined ? 0 : 1],
  ]);
  metrics.gauge("spear_event_seq", "Sequence number of the newest event.", [], () => [
    [{}, events.last],
  ]);
  const times = metrics.histogram(
    "spear_task_phase_seconds",
    "Time of a task in a phase: pending until placed, assigned until claimed, running until its end.",
    ["phase"],
    phaseSeconds,
  );
  const byPhase = {
    pending: times.labels("pending"),
    assigned: times.labels("assigned"),
    running: times.labels("running"),
  };
  return events.listen(timing((phase, seconds) => byPhase[phase].observe(seconds)));
}

/** States that a task leaves forward: it is timed in each. */
type TimedState = "pending" | "assigned" | "running";

/** Follows events and tells how long each task was in a state that it leaves forward. */
export function timing(observe: (phase: TimedState, seconds: number) => void) {
  const since = new Map<string, number>();
  return ({ kind, taskId, atMs, from, to }: Event): void => {
    if (kind !== "task.state" || taskId === undefined) return;
    const began = since.get(taskId);
    const ended = to !== "pending" && !isPlaced(to as TaskState);
    if (began !== undefined && (from === "running" ? ended : !ended && to !== "pending")) {
      observe(from as TimedState, (atMs - began) / 1000);
    }
    if (ended) {
      since.delete(taskId);
      return;
    }
    since.set(taskId, atMs);
    if (since.size <= mostTimed) return;
    const [oldest] = since.keys();
    if (oldest !== undefined) since.delete(oldest);
  };
}
