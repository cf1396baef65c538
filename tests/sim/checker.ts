/** Looks after each command at what it touched, and at the end at everything. */
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import { isPlaced } from "@spear/shared/state.ts";
import type { AttemptJob } from "@spear/shared/queue.ts";
import type { Event } from "@spear/shared/task.ts";
import { needOf } from "../../apps/sms/src/tasks/record.ts";
import type { Outcome, Transition } from "../../apps/sms/src/tasks/store.ts";
import { brokenRoom, Replay } from "./invariants.ts";
import type { MemoryNodes } from "./memory-nodes.ts";
import type { MemoryTasks } from "./memory-tasks.ts";
import { extrasOf, type MemoryState, numberAt } from "./memory.ts";
import type { Process, World } from "./world.ts";

export class Checker {
  readonly #state: MemoryState;
  readonly #tasks: MemoryTasks;
  readonly #nodes: MemoryNodes;
  readonly #world: World;
  readonly #replay = new Replay();
  readonly #touched = new Set<TaskId>();
  readonly #attempts = new Map<TaskId, number>();
  /** Tries that were counted against tasks. */
  readonly #failures = new Map<TaskId, number>();
  /** Tasks whose room was asked back by the command that runs. */
  readonly #putBack = new Set<TaskId>();
  /** Attempts that have published outputs, and those that have begun to run, by task. */
  readonly #published = new Map<string, number>();
  readonly #started = new Set<string>();
  /** Attempts of exclusive tasks whose command is there, by task: where. */
  readonly #live = new Map<TaskId, Map<number, Process>>();
  /** How often each reason for a change came up. */
  readonly reasons = new Map<string, number>();
  /** The first thing that was broken. */
  violation: string | undefined;

  constructor(state: MemoryState, tasks: MemoryTasks, nodes: MemoryNodes, world: World) {
    this.#state = state;
    this.#tasks = tasks;
    this.#nodes = nodes;
    this.#world = world;
  }

  broken(found: readonly string[]): void {
    const [first] = found;
    if (first === undefined || this.violation !== undefined) return;
    this.violation = first;
    this.#world.note(`BROKEN ${first}`);
  }

  onEvent(event: Event): void {
    const { taskId, nodeId, attempt, from, to, reason } = event;
    this.#world.note(
      `${taskId?.slice(-4) ?? ""} ${from} → ${to} (${reason}) attempt ${attempt} on ${nodeId?.slice(-3) ?? "-"}`,
    );
    this.reasons.set(reason, (this.reasons.get(reason) ?? 0) + 1);
    this.broken(this.#replay.take(event));
    if (taskId === undefined) return;
    this.#touched.add(taskId as TaskId);
    if (to === "pending" && (reason === "preempted" || reason === "drained"))
      this.#putBack.add(taskId as TaskId);
  }

  before(name: string, args: readonly unknown[]): void {
    if (name !== "transition") return;
    const { id } = args[0] as Transition;
    const record = this.#state.tasks.get(id);
    if (record !== undefined) this.#attempts.set(id, numberAt(record, "a"));
  }

  after(name: string, args: readonly unknown[], answer: unknown): void {
    if (name === "transition") {
      const { id, attempt } = args[0] as Transition;
      const { code } = answer as Outcome;
      this.#touched.add(id);
      if (code === "ok" && attempt !== undefined && attempt !== this.#attempts.get(id))
        this.broken([
          `T3: attempt ${attempt} changed ${id}, which had attempt ${this.#attempts.get(id)}`,
        ]);
    }
    for (const id of this.#touched) {
      this.#look(id);
      this.#count(id);
    }
    this.#touched.clear();
  }

  /** Whose room is asked back loses no try, and neither it nor its node is blamed. */
  #count(id: TaskId): void {
    const record = this.#state.tasks.get(id);
    if (record === undefined) return;
    const counted = numberAt(record, "fl") + numberAt(record, "nf");
    if (this.#putBack.delete(id) && counted !== (this.#failures.get(id) ?? 0))
      this.broken([`${id} was put back and has ${counted} failures, not as before`]);
    this.#failures.set(id, counted);
  }

  /** An attempt's outputs got their names. */
  published(taskId: string, attempt: number): void {
    const before = this.#published.get(taskId) ?? attempt;
    this.#published.set(taskId, attempt);
    if (before !== attempt)
      this.broken([`T3: attempts ${before} and ${attempt} of ${taskId} both published outputs`]);
  }

  /** An attempt began to run, with the leave of SMS. */
  started({ taskId, attempt, spec }: AttemptJob, machine: Process): void {
    const key = `${taskId} ${attempt}`;
    if (this.#started.has(key))
      this.broken([`T3: attempt ${attempt} of ${taskId} was started twice`]);
    this.#started.add(key);
    if (spec.exclusive !== true) return;
    const live = this.#live.get(taskId) ?? new Map<number, Process>();
    this.#live.set(taskId, live);
    for (const [other, { name, pausedUntilMs }] of live) {
      // What stands still does nothing, and ends before it does anything again.
      if (pausedUntilMs > this.#world.nowMs) continue;
      this.broken([
        `T7: attempt ${attempt} of ${taskId} starts on ${machine.name} while attempt ${other} runs on ${name}`,
      ]);
    }
    live.set(attempt, machine);
  }

  /** The command of an attempt is gone. */
  stopped({ taskId, attempt }: AttemptJob): void {
    this.#live.get(taskId)?.delete(attempt);
  }

  #look(id: TaskId): void {
    const task = this.#tasks.read(id)?.task;
    if (task === undefined) return;
    this.broken(this.#replay.compare(task));
    const { nodeId } = task;
    if (nodeId === undefined) return;
    const holds = this.#state.heldOn(nodeId as NodeId).has(id);
    if (holds !== isPlaced(task.state))
      this.broken([
        `T4: ${id} is ${task.state} and ${holds ? "holds" : "does not hold"} room on ${nodeId}`,
      ]);
    this.#lookAtNode(nodeId as NodeId);
  }

  #lookAtNode(id: NodeId): void {
    const node = this.#nodes.read(id);
    if (node === undefined) return;
    const needs = [...this.#state.heldOn(id)].map((task) => {
      const record = this.#state.tasks.get(task);
      return record === undefined
        ? needOf({})
        : {
            cpuMilli: numberAt(record, "nc"),
            memoryBytes: numberAt(record, "nm"),
            extras: Object.fromEntries(extrasOf(record.get("nx") ?? "")),
          };
    });
    this.broken(brokenRoom(node, needs));
  }

  /** Everything, and T1: what was acknowledged is there and has ended. */
  final(acknowledged: ReadonlySet<TaskId>): void {
    for (const id of acknowledged) {
      const task = this.#tasks.read(id)?.task;
      if (task === undefined) this.broken([`T1: ${id} was acknowledged and is not there`]);
      else if (task.finishedAtMs === undefined)
        this.broken([
          `T1: ${id} was acknowledged and has not ended: ${task.state} on ${task.nodeId ?? "no node"}`,
        ]);
    }
    for (const id of this.#state.tasks.keys()) this.#look(id);
    for (const id of this.#state.nodes.keys()) this.#lookAtNode(id);
  }
}
