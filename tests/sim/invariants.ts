/**
 * The invariants of DESIGN by name, as checks that answer with what is broken.
 * They look at events and records only, whoever holds them.
 */
import type { Node } from "@spear/shared/node.ts";
import { isPlaced, isTerminal, type TaskState, transitions } from "@spear/shared/state.ts";
import type { Event, Task } from "@spear/shared/task.ts";
import type { Need } from "../../apps/sms/src/tasks/record.ts";

/** What the events say of a task. */
interface Replayed {
  state: TaskState | "";
  attempt: number;
  seq: number;
  nodeId: string | undefined;
}

/** The event stream, replayed as it comes (T2, T3, T5). */
export class Replay {
  readonly #tasks = new Map<string, Replayed>();
  #last = 0;

  /** What the next event breaks. */
  take(event: Event): string[] {
    const broken: string[] = [];
    if (event.seq !== this.#last + 1)
      broken.push(`T5: event ${event.seq} follows event ${this.#last}`);
    this.#last = event.seq;
    if (event.taskId === undefined) return broken;
    const before = this.#tasks.get(event.taskId) ?? { state: "", attempt: 0, seq: 0, nodeId: "" };
    const at = `event ${event.seq} of ${event.taskId}`;
    const to = event.to as TaskState;
    if (event.kind === "task.removed") {
      if (before.state === "" || !isTerminal(before.state))
        broken.push(`T1: ${at} removes it while it is ${before.state}`);
      this.#tasks.delete(event.taskId);
      return broken;
    }
    if (event.kind === "task.state") {
      if (event.from !== before.state)
        broken.push(`T5: ${at} comes from ${event.from}, but it was ${before.state}`);
      if (before.state !== "" && isTerminal(before.state))
        broken.push(`T2: ${at}: ${before.state} has become ${to}`);
      else if (before.state !== "" && !transitions[before.state].includes(to))
        broken.push(`T2: ${at}: ${before.state} may not become ${to}`);
      // A record that was lost and is made again goes on from the attempt that there was.
      const came = event.from === "" && event.reason === "adopted" ? event.attempt : before.attempt;
      const expected = came + (to === "assigned" ? 1 : 0);
      if (event.attempt !== expected)
        broken.push(`T3: ${at} is of attempt ${event.attempt}, not of ${expected}`);
    }
    this.#tasks.set(event.taskId, {
      state: to,
      attempt: event.attempt,
      seq: event.seq,
      nodeId: event.nodeId,
    });
    return broken;
  }

  /** Where a record differs from its events (T5). */
  compare(task: Task): string[] {
    const replayed = this.#tasks.get(task.id);
    const same =
      replayed?.state === task.state &&
      replayed.attempt === task.attempt &&
      replayed.seq === task.seq &&
      replayed.nodeId === task.nodeId;
    if (same) return [];
    const { state, attempt, seq, nodeId } = task;
    return [
      `T5: ${task.id} is ${JSON.stringify({ state, attempt, seq, nodeId })}, its events say ${JSON.stringify(replayed)}`,
    ];
  }
}

/** What is wrong with what is reserved on a node, given the needs of those that hold room there (T4). */
export function brokenRoom(node: Node, needs: readonly Need[]): string[] {
  const sums = {
    cpu: needs.reduce((sum, need) => sum + need.cpuMilli, 0) / 1000,
    memoryBytes: needs.reduce((sum, need) => sum + need.memoryBytes, 0),
    slots: needs.length,
  };
  const broken: string[] = [];
  for (const what of ["cpu", "memoryBytes", "slots"] as const) {
    if (Math.abs(node.reserved[what] - sums[what]) > 1e-9)
      broken.push(
        `T4: ${node.id} has ${node.reserved[what]} ${what} reserved, its tasks hold ${sums[what]}`,
      );
    if (node.reserved[what] > node.capacity[what])
      broken.push(
        `T4: ${node.id} has ${node.reserved[what]} of ${node.capacity[what]} ${what} reserved`,
      );
  }
  for (const [name, count] of Object.entries(node.reserved.extras)) {
    const sum = needs.reduce((total, need) => total + (need.extras[name] ?? 0), 0);
    if (count !== sum || count > (node.capacity.extras[name] ?? 0))
      broken.push(`T4: ${node.id} has ${count} ${name} reserved, its tasks hold ${sum}`);
  }
  return broken;
}

/** Which tasks hold room on a node by their records, against what the node's index says. */
export function brokenIndex(
  nodeId: string,
  tasks: readonly Task[],
  held: readonly string[],
): string[] {
  const holding = tasks
    .filter((task) => task.nodeId === nodeId && isPlaced(task.state))
    .map(({ id }) => id)
    .toSorted();
  if (holding.join() === held.toSorted().join()) return [];
  return [`T4: ${nodeId} is said to have ${held.join()}, the records say ${holding.join()}`];
}
