/** Task records in memory; see transition.lua and its kin for what each step does. */
import { type JobId, jobOfOne, type NodeId, type TaskId } from "@spear/shared/ids.ts";
import { isPlaced, isTerminal, transitions, type TaskState } from "@spear/shared/state.ts";
import {
  type Event,
  type Failure,
  type OutputObject,
  runtimeOf,
  type TaskSpec,
} from "@spear/shared/task.ts";
import {
  type Adoption,
  classOf,
  decodeHistory,
  decodeRecord,
  extrasText,
  heedOf,
  nameOf,
  needOf,
  type NewTask,
  rankOf,
  recordFields,
  type Submitted,
  type TaskRecord,
} from "../../apps/sms/src/tasks/record.ts";
import type {
  AdoptCode,
  CancelOutcome,
  CommitCode,
  EvictOutcome,
  Outcome,
  Preemption,
  PreemptCode,
  RecordStore,
  Transition,
  Waiting,
} from "../../apps/sms/src/tasks/store.ts";
import { type Fields, type MemoryState, numberAt } from "./memory.ts";

type Values = Readonly<Record<string, string | number>>;

const write = (record: Fields, values: Values) => {
  for (const [field, value] of Object.entries(values)) record.set(field, String(value));
};

export class MemoryTasks implements RecordStore {
  readonly #state: MemoryState;

  constructor(state: MemoryState) {
    this.#state = state;
  }

  submit(task: NewTask, nowMs: number): Promise<Submitted> {
    return Promise.resolve(this.#submit(task, nowMs));
  }

  #submit({ id, jobId, spec, idempotencyKey, nodeId, parent }: NewTask, nowMs: number): Submitted {
    if (parent !== undefined) throw new TypeError("tasks of the simulation have no children");
    const state = this.#state;
    const exists = (known: TaskId): Submitted => ({
      created: false,
      id: known,
      state: "" as TaskState,
      attempt: 0,
      nodeId: undefined,
      seq: 0,
      atMs: nowMs,
    });
    if (idempotencyKey !== undefined) {
      const known = state.idempotency.get(idempotencyKey);
      if (known !== undefined) return exists(known);
      state.idempotency.set(idempotencyKey, id);
    }
    if (state.tasks.has(id)) return exists(id);
    const need = needOf(spec);
    const cls = classOf(spec, jobId);
    const notBeforeMs = (spec.delayMs ?? 0) === 0 ? 0 : nowMs + (spec.delayMs ?? 0);
    const record: Fields = new Map();
    let seq = state.emit(nowMs, record, "task.state", id, jobId, "", 0, "", "pending", "submitted", ""); // prettier-ignore
    write(record, {
      j: jobId,
      sp: JSON.stringify(spec),
      nn: nameOf(id, spec),
      r: runtimeOf(spec),
      c: cls,
      k: rankOf(spec, nowMs),
      nc: need.cpuMilli,
      nm: need.memoryBytes,
      nx: extrasText(need.extras),
      ca: nowMs,
      ...(heedOf(spec) === "" ? {} : { g: heedOf(spec) }),
      ...(notBeforeMs > 0 ? { nb: notBeforeMs } : {}),
      ...(spec.retentionMs === undefined ? {} : { rt: spec.retentionMs }),
    });
    const taken = { task: id, record };
    const placed =
      nodeId !== undefined &&
      notBeforeMs <= nowMs &&
      !state.pending.has(cls) &&
      state.reserve(nodeId, taken, nowMs);
    if (placed) {
      seq = state.emit(nowMs, record, "task.state", id, jobId, nodeId, 1, "pending", "assigned", "placed", ""); // prettier-ignore
      record.set("aa", String(nowMs));
    } else state.awaitNode(taken, notBeforeMs, nowMs);
    const [now, attempt] = placed ? (["assigned", 1] as const) : (["pending", 0] as const);
    write(record, { s: now, a: attempt, n: placed ? nodeId : "" });
    state.tasks.set(id, record);
    state.allTasks.add(id, 0);
    state.tasksIn[now].add(id, 0);
    return {
      created: true,
      id,
      state: now,
      attempt,
      nodeId: placed ? nodeId : undefined,
      seq,
      atMs: nowMs,
    };
  }

  adopt(adoption: Adoption, nowMs: number): Promise<AdoptCode> {
    return Promise.resolve(this.#adopt(adoption, nowMs));
  }

  #adopt(adoption: Adoption, nowMs: number): AdoptCode {
    const state = this.#state;
    const { id, spec, nodeId, attempt, startedAtMs, end, idempotencyKey } = adoption;
    const known = state.tasks.get(id);
    if (known !== undefined) {
      const [now, current] = [known.get("s") as TaskState, numberAt(known, "a")];
      const own = current === attempt && known.get("n") === nodeId;
      if (own && !isTerminal(now) && now !== "pending") return "known";
      return now === "pending" && current + 1 === attempt ? "behind" : "stale";
    }
    const jobId = jobOfOne(id);
    const need = needOf(spec);
    const record: Fields = new Map();
    write(record, {
      j: jobId,
      sp: JSON.stringify(spec),
      nn: nameOf(id, spec),
      r: runtimeOf(spec),
      c: classOf(spec, jobId),
      k: rankOf(spec, adoption.submittedAtMs),
      nc: need.cpuMilli,
      nm: need.memoryBytes,
      nx: extrasText(need.extras),
      ca: adoption.submittedAtMs,
      aa: startedAtMs,
      sa: startedAtMs,
      a: attempt,
      n: nodeId,
      ...(heedOf(spec) === "" ? {} : { g: heedOf(spec) }),
      ...(spec.retentionMs === undefined ? {} : { rt: spec.retentionMs }),
      ...adoption.set,
      ...end?.set,
    });
    const taken = { task: id, record };
    if (end === undefined && !state.reserve(nodeId, taken, nowMs)) return "no_capacity";
    if (idempotencyKey !== undefined && !state.idempotency.has(idempotencyKey))
      state.idempotency.set(idempotencyKey, id);
    const happens = (of: number, from: string, to: string, reason: string, exit: number | "" = "") =>
      state.emit(nowMs, record, "task.state", id, jobId, of === 0 ? "" : nodeId, of, from, to, reason, exit); // prettier-ignore
    happens(attempt - 1, "", "pending", "adopted");
    happens(attempt, "pending", "assigned", "adopted");
    happens(attempt, "assigned", "running", "adopted");
    const to = end?.to ?? "running";
    if (end !== undefined) happens(attempt, "running", to, end.reason, end.exitCode ?? "");
    record.set("s", to);
    if (to === "pending") {
      state.awaitNode(taken, end?.notBeforeMs ?? 0, nowMs);
      if ((end?.notBeforeMs ?? 0) > 0) record.set("nb", String(end?.notBeforeMs));
    } else if (to !== "running") record.set("fa", String(nowMs));
    state.tasks.set(id, record);
    state.allTasks.add(id, 0);
    state.reindex(taken, "running", to, nowMs);
    return "ok";
  }

  transition(change: Transition, nowMs: number): Promise<Outcome> {
    return Promise.resolve(this.#transition(change, nowMs));
  }

  #transition(change: Transition, nowMs: number): Outcome {
    const state = this.#state;
    const { id, attempt, nodeId } = change;
    const record = state.tasks.get(id);
    const none = "" as NodeId;
    if (record === undefined)
      return { code: "missing", attempt: 0, nodeId: none, state: "" as TaskState };
    const taken = { task: id, record };
    const from = record.get("s") as TaskState;
    const current = numberAt(record, "a");
    const holder = (record.get("n") ?? "") as NodeId;
    const refuse = (code: Outcome["code"], node = holder): Outcome => ({
      code,
      attempt: current,
      nodeId: node,
      state: from,
    });
    if (state.bug !== "no_fencing") {
      if (attempt !== undefined && attempt !== current) return refuse("stale");
      if (change.to !== "assigned" && nodeId !== undefined && nodeId !== holder)
        return refuse("stale");
    }
    const to = change.to === "pending" && record.has("cr") ? "cancelled" : change.to;
    if (from === to) {
      if (state.bug === "release_twice") state.release(holder, taken);
      return refuse("again");
    }
    if (!transitions[from].includes(to)) return refuse("illegal");
    if (record.has("cm") && to !== "succeeded" && change.reason !== "outputs_failed")
      return refuse("committing");
    let [now, node] = [current, holder];
    if (to === "assigned") {
      const excluded = state.isExcluded(record);
      if (nodeId === undefined || excluded || !state.reserve(nodeId, taken, nowMs))
        return refuse("no_capacity", nodeId ?? none);
      [now, node] = [current + 1, nodeId];
      write(record, { a: now, n: node, aa: nowMs });
      if (current !== 0)
        for (const field of ["sa", "x", "sg", "u", "nb", "ev"]) record.delete(field);
    } else if (to === "running") record.set("sa", String(nowMs));
    else if (from !== "pending") state.release(holder, taken);

    if (from === "pending") state.noLongerWaits(taken);
    if (to === "pending") {
      let notBeforeMs = change.notBeforeMs ?? 0;
      const waits =
        from === "running" ? state.exclusiveUntil(record, holder, change.reason) : undefined;
      if (waits !== undefined) {
        record.set("xu", String(waits));
        notBeforeMs = Math.max(notBeforeMs, nowMs + state.untilMs(waits));
      }
      state.awaitNode(taken, notBeforeMs, nowMs);
      if (notBeforeMs > 0) record.set("nb", String(notBeforeMs));
    } else if (to !== "assigned" && to !== "running") record.set("fa", String(nowMs));
    state.emit(nowMs, record, "task.state", id, record.get("j") ?? "", node, now, from, to, change.reason, change.exitCode ?? ""); // prettier-ignore
    write(record, { s: to, ...change.set });
    state.reindex(taken, from, to, nowMs);
    return { code: "ok", attempt: now, nodeId: node, state: from };
  }

  beginCommit(
    id: TaskId,
    attempt: number,
    nodeId: NodeId,
    outputs: string,
    _nowMs: number,
    set: Values,
  ): Promise<CommitCode> {
    const record = this.#state.tasks.get(id);
    if (record === undefined) return Promise.resolve("missing");
    const own = numberAt(record, "a") === attempt && record.get("n") === nodeId;
    if (!own && this.#state.bug !== "no_fencing") return Promise.resolve("stale");
    if (record.get("s") !== "running") return Promise.resolve("illegal");
    write(record, { o: outputs, cm: attempt, ...set });
    return Promise.resolve("ok");
  }

  cancel(id: TaskId, nowMs: number): Promise<CancelOutcome> {
    return Promise.resolve(this.#cancel(id, nowMs));
  }

  #cancel(id: TaskId, nowMs: number): CancelOutcome {
    const state = this.#state;
    const record = state.tasks.get(id);
    if (record === undefined) return { code: "missing", nodeId: "" as NodeId, attempt: 0 };
    const taken = { task: id, record };
    const from = record.get("s") as TaskState;
    const nodeId = (record.get("n") ?? "") as NodeId;
    const attempt = numberAt(record, "a");
    const emit = (kind: string, to: TaskState) =>
      state.emit(
        nowMs,
        record,
        kind,
        id,
        record.get("j") ?? "",
        nodeId,
        attempt,
        from,
        to,
        "cancel",
        "",
      );
    if (from === "running") {
      if (!record.has("cr")) {
        emit("task.cancel_requested", "running");
        record.set("cr", "1");
      }
      return { code: "requested", nodeId, attempt };
    }
    if (!transitions[from].includes("cancelled")) return { code: "terminal", nodeId, attempt };
    if (from === "assigned") state.release(nodeId, taken);
    else state.noLongerWaits(taken);
    emit("task.state", "cancelled");
    write(record, { s: "cancelled", cr: 1, fa: nowMs });
    state.reindex(taken, from, "cancelled", nowMs);
    return { code: "cancelled", nodeId, attempt };
  }

  evict(id: TaskId, attempt: number, failure: Failure, nowMs: number): Promise<EvictOutcome> {
    return Promise.resolve(this.#evict(id, attempt, failure, nowMs));
  }

  #evict(id: TaskId, attempt: number, failure: Failure, nowMs: number): EvictOutcome {
    const state = this.#state;
    const record = state.tasks.get(id);
    if (record === undefined) return { code: "missing", attempt: 0 };
    const from = record.get("s") as TaskState;
    const current = numberAt(record, "a");
    if (attempt !== current || !isPlaced(from)) return { code: "stale", attempt: current };
    if (["cr", "cm", "ev"].some((field) => record.has(field)))
      return { code: "again", attempt: current };
    const [job, node] = [record.get("j") ?? "", record.get("n") as NodeId];
    const text = JSON.stringify(failure);
    if (from === "running") {
      state.emit(nowMs, record, "task.evict_requested", id, job, node, current, from, from, failure.code, ""); // prettier-ignore
      record.set("ev", text);
      return { code: "requested", attempt: current };
    }
    state.release(node, { task: id, record });
    state.awaitNode({ task: id, record }, 0, nowMs);
    state.emit(nowMs, record, "task.state", id, job, node, current, from, "pending", failure.code, ""); // prettier-ignore
    write(record, { s: "pending", f: text });
    state.reindex({ task: id, record }, from, "pending", nowMs);
    return { code: "evicted", attempt: current };
  }

  preempt(preemption: Preemption, nowMs: number): Promise<PreemptCode> {
    return Promise.resolve(this.#preempt(preemption, nowMs));
  }

  #preempt(preemption: Preemption, nowMs: number): PreemptCode {
    const { nodeId, taskId, untilMs, failure, victims } = preemption;
    const { nodes, tasks } = this.#state;
    const node = nodes.get(nodeId);
    if (node?.get("st") !== "ready" || node.has("co")) return "stale";
    const own = tasks.get(taskId);
    if (own?.get("s") !== "pending" || numberAt(own, "pu") > nowMs) return "stale";
    const headStart = (record: Fields) => numberAt(record, "ca") - numberAt(record, "k");
    const heldFor = (node.get("hf") ?? taskId) as TaskId;
    const keptFor = tasks.get(heldFor);
    if (heldFor !== taskId && numberAt(node, "hu") > nowMs && keptFor?.get("s") === "pending") {
      if (headStart(keptFor) >= headStart(own)) return "stale";
    }
    const fits = victims.every(({ id, attempt }) => {
      const record = tasks.get(id);
      return (
        record !== undefined &&
        isPlaced(record.get("s") as TaskState) &&
        numberAt(record, "a") === attempt &&
        record.get("n") === nodeId &&
        !["cr", "cm", "ev"].some((field) => record.has(field)) &&
        headStart(record) < headStart(own)
      );
    });
    if (!fits) return "stale";
    node.set("hf", taskId).set("hu", String(untilMs));
    own.set("pu", String(untilMs));
    for (const { id, attempt } of victims) this.#evict(id, attempt, failure, nowMs);
    return "ok";
  }

  promote(nowMs: number, limit: number): Promise<number> {
    const { delayed, tasks } = this.#state;
    const due = delayed.slice(0, limit).filter((id) => (delayed.scoreOf(id) ?? 0) <= nowMs);
    for (const task of due) {
      delayed.delete(task);
      const record = tasks.get(task);
      if (record?.get("s") === "pending") this.#state.awaitNode({ task, record }, 0, nowMs);
    }
    return Promise.resolve(due.length);
  }

  removeExpired(nowMs: number, limit: number): Promise<number> {
    const state = this.#state;
    const { expiring, tasks } = state;
    const due = expiring.slice(0, limit).filter((id) => (expiring.scoreOf(id) ?? 0) <= nowMs);
    for (const id of due) {
      expiring.delete(id);
      const record = tasks.get(id);
      if (record === undefined) continue;
      const from = record.get("s") as TaskState;
      state.emit(nowMs, undefined, "task.removed", id, record.get("j") ?? "", "", 0, from, "", "retention", ""); // prettier-ignore
      state.allTasks.delete(id);
      state.tasksIn[from].delete(id);
      tasks.delete(id);
    }
    return Promise.resolve(due.length);
  }

  nextDueMs(): Promise<number | undefined> {
    const { delayed } = this.#state;
    const [first] = delayed.slice(0, 1);
    return Promise.resolve(first === undefined ? undefined : delayed.scoreOf(first));
  }

  /** The record as it is at this moment. */
  read(id: TaskId): TaskRecord | undefined {
    const record = this.#state.tasks.get(id);
    return decodeRecord(
      id,
      recordFields.map((field) => record?.get(field) ?? null),
    );
  }

  get(id: TaskId): Promise<TaskRecord | undefined> {
    return Promise.resolve(this.read(id));
  }

  getMany(ids: readonly TaskId[]): Promise<TaskRecord[]> {
    return Promise.resolve(ids.map((id) => this.read(id)).filter((one) => one !== undefined));
  }

  spec(id: TaskId): Promise<TaskSpec | undefined> {
    const text = this.#state.tasks.get(id)?.get("sp");
    return Promise.resolve(text === undefined ? undefined : (JSON.parse(text) as TaskSpec));
  }

  stagedOutputs(id: TaskId): Promise<OutputObject[] | undefined> {
    const record = this.#state.tasks.get(id);
    const outputs = record?.get("o");
    const begun = record?.get("s") === "running" && record.has("cm") && outputs !== undefined;
    return Promise.resolve(begun ? (JSON.parse(outputs) as OutputObject[]) : undefined);
  }

  history(id: TaskId): Promise<Event[] | undefined> {
    const record = this.#state.tasks.get(id);
    return Promise.resolve(record === undefined ? undefined : decodeHistory(id, record));
  }

  idsBefore(
    state: TaskState | undefined,
    before: string | undefined,
    limit: number,
  ): Promise<TaskId[]> {
    const index = state === undefined ? this.#state.allTasks : this.#state.tasksIn[state];
    return Promise.resolve(index.beside(before as TaskId | undefined, -1, limit));
  }

  idsAfter(state: TaskState, after: string | undefined, limit: number): Promise<TaskId[]> {
    return Promise.resolve(
      this.#state.tasksIn[state].beside(after as TaskId | undefined, 1, limit),
    );
  }

  heldBy(nodeId: NodeId): Promise<TaskId[]> {
    return Promise.resolve([...this.#state.heldOn(nodeId)]);
  }

  countIn(state: TaskState): Promise<number> {
    return Promise.resolve(this.#state.tasksIn[state].size);
  }

  siblings(job: JobId): Promise<Map<NodeId, number>> {
    return Promise.resolve(new Map(this.#state.jobNodes.get(job)));
  }

  waitingClasses(offset: number, limit: number): Promise<Waiting[]> {
    const { pendingClasses, pending } = this.#state;
    return Promise.resolve(
      pendingClasses.slice(offset, limit).flatMap((cls) => {
        const [head] = pending.get(cls)?.slice(0, 1) ?? [];
        return head === undefined
          ? []
          : [{ class: cls, head, rank: pendingClasses.scoreOf(cls) ?? 0 }];
      }),
    );
  }

  aheadOf(id: TaskId): Promise<number | undefined> {
    const cls = this.#state.tasks.get(id)?.get("c") ?? "";
    return Promise.resolve(this.#state.pending.get(cls)?.rankOf(id));
  }

  waiting(cls: string, limit: number): Promise<{ id: TaskId; rank: number }[]> {
    const waiting = this.#state.pending.get(cls);
    return Promise.resolve(
      (waiting?.slice(0, limit) ?? []).map((id) => ({ id, rank: waiting?.scoreOf(id) ?? 0 })),
    );
  }
}
