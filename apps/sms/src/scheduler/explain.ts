/** Answers why a task waits, or why it is where it is, from the cluster as it stands now. */
import type { Clock } from "@spear/shared/clock.ts";
import type { Explanation } from "@spear/shared/explanation.ts";
import type { JobId, NodeId, TaskId } from "@spear/shared/ids.ts";
import { redisFault } from "@spear/shared/redis/client.ts";
import { isPlaced, isTerminal } from "@spear/shared/state.ts";
import type { Task } from "@spear/shared/task.ts";
import type { TaskRecord } from "../tasks/record.ts";
import type { RecordStore } from "../tasks/store.ts";
import { taskNotFound } from "../tasks/tasks.ts";
import {
  adjust,
  type Demand,
  demandOf,
  inputsOf,
  type NodeView,
  place,
  refusalsOf,
  scoreOf,
  siblingsByValue,
  totalOf,
} from "./place.ts";
import type { ClusterView } from "./view.ts";
import { reasonsInWords, remediesOf } from "./why.ts";

export class Explainer {
  readonly #records: RecordStore;
  readonly #view: ClusterView;
  readonly #clock: Clock;

  constructor(deps: { records: RecordStore; view: ClusterView; clock: Clock }) {
    this.#records = deps.records;
    this.#view = deps.view;
    this.#clock = deps.clock;
  }

  /** Throws `task_not_found`, or `unavailable` while Redis is away. */
  async explain(id: TaskId): Promise<Explanation> {
    try {
      const record = await this.#records.get(id);
      if (record === undefined) throw taskNotFound(id);
      const [siblings, ahead] = await Promise.all([
        this.#records.siblings(record.task.jobId as JobId),
        this.#records.aheadOf(id),
        this.#view.refresh(),
      ]);
      return this.#explanationOf(record, siblings, ahead);
    } catch (error) {
      throw redisFault(error);
    }
  }

  #explanationOf(
    record: TaskRecord,
    siblings: Map<NodeId, number>,
    ahead: number | undefined,
  ): Explanation {
    const { task } = record;
    const { id, state, spec } = task;
    const demand = demandOf(spec);
    let { nodes } = this.#view.placer;
    if (isPlaced(state)) nodes = withoutOwn(nodes, task.nodeId as NodeId, demand, siblings);
    const circumstances = { taskId: id as TaskId, siblings, inputs: inputsOf(spec) };
    const { policy } = this.#view;
    const { nodeId: best, refusals } = place(demand, nodes, policy, circumstances);
    const byValue = siblingsByValue(demand, nodes, siblings);
    const chosen = isPlaced(state) ? task.nodeId : best;
    const verdicts = nodes
      .map((node) => {
        const against = [...refusalsOf(demand, node, circumstances)];
        const score =
          against.length === 0 ? scoreOf(demand, node, policy, circumstances, byValue) : {};
        return {
          nodeId: node.id,
          name: node.name,
          chosen: node.id === chosen,
          reasons: against.map(({ detail }) => detail),
          score,
        };
      })
      .toSorted((a, b) => Number(b.chosen) - Number(a.chosen) || orderOf(b) - orderOf(a));
    const fitting = verdicts.filter(({ reasons }) => reasons.length === 0).length;
    const waits = state === "pending" && best === undefined;
    const bestNode = nodes.find((node) => node.id === best);
    return {
      taskId: id,
      state,
      summary:
        state === "pending"
          ? putBackSummary(task) +
            (this.#pendingSummary(record, ahead, bestNode) ??
              `no node can take it now: ${reasonsInWords(refusals)}${keptSummary(task, nodes)}`)
          : settledSummary(record, nodes, fitting),
      changes: waits ? remediesOf(demand, nodes, circumstances).map(({ text }) => text) : [],
      nodes: isTerminal(state) ? [] : verdicts,
    };
  }

  /** Undefined if it only waits for a node that can take it. */
  #pendingSummary(
    { notBeforeMs }: TaskRecord,
    ahead: number | undefined,
    best: NodeView | undefined,
  ): string | undefined {
    if (notBeforeMs > this.#clock.nowMs())
      return `it may not start before ${new Date(notBeforeMs).toISOString()}`;
    if (ahead === undefined) return "it waits for other tasks of its job";
    if (best === undefined) return undefined;
    if (ahead === 0) return `it fits on node ${best.name} and is about to be placed`;
    return `it fits on node ${best.name}; ${ahead} of equal need come first`;
  }
}

function orderOf({ reasons, score }: { reasons: string[]; score: Record<string, number> }): number {
  return reasons.length === 0 ? totalOf(score) : Number.MIN_SAFE_INTEGER - reasons.length;
}

/** Why it was put back, if that was not for its own doing. */
function putBackSummary({ failure }: Task): string {
  return failure?.code === "preempted" || failure?.code === "drained"
    ? `it was put back: ${failure.message}; `
    : "";
}

/** Where room is being made for it. */
function keptSummary({ id }: Task, nodes: readonly NodeView[]): string {
  const node = nodes.find(({ heldFor }) => heldFor === id);
  return node === undefined ? "" : `; what comes free on node ${node.name} is kept for it`;
}

/** Where it is, or how it has ended. */
function settledSummary(
  { task, evicting }: TaskRecord,
  nodes: readonly NodeView[],
  fitting: number,
): string {
  if (isTerminal(task.state)) return `it has ended: ${task.state}`;
  const name = nodes.find(({ id }) => id === task.nodeId)?.name ?? task.nodeId;
  if (evicting !== undefined) return `it leaves node ${name}: ${evicting.message}`;
  return fitting > 1
    ? `it is on node ${name}; ${fitting} nodes could take it as things are now`
    : `it is on node ${name}; no other node could take it as things are now`;
}

/** The nodes as if the task were not there: its own node has its room back. */
function withoutOwn(
  nodes: readonly NodeView[],
  nodeId: NodeId,
  demand: Demand,
  siblings: Map<NodeId, number>,
): readonly NodeView[] {
  const own = siblings.get(nodeId);
  if (own !== undefined) siblings.set(nodeId, own - 1);
  return nodes.map((node) => {
    if (node.id !== nodeId) return node;
    const without = { ...node, reserved: { ...node.reserved } };
    adjust(without, demand, -1);
    return without;
  });
}
