/**
 * Attempts of which only this node knows: of tasks that were submitted here while SMS
 * was away, and those whose records went with Redis. They are kept on disk, run within
 * what the node has free, and are told to SMS until it has made their records (T1). From
 * then on they are attempts like all others. Nobody else can have such an attempt, so
 * that it needs no claim; once its record is there, it is fenced like the rest (T3).
 */
import { taskStateToProto } from "@spear/proto/enums.ts";
import type { AttemptAdoption, HeldAttempt } from "@spear/proto/gen/spear/sms/v1/node.ts";
import { systemClock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import { aborted } from "@spear/shared/lifecycle.ts";
import type { Log } from "@spear/shared/log.ts";
import type { Capacity } from "@spear/shared/node.ts";
import type { AttemptJob } from "@spear/shared/queue.ts";
import { specDefaults, type TaskSpec } from "@spear/shared/task.ts";
import type { FinalBody, Reports } from "../control/reports.ts";
import { Journal } from "../journal.ts";
import { attemptKey, type AttemptId } from "./attempt.ts";
import type { Upstream } from "./execution.ts";
import { specToProto } from "./wire.ts";

/** How long until SMS is asked again to make a record for which it had no room. */
const againMs = 1_000;

/** What is kept of an attempt; secrets and standard input too, for it may have to begin again. */
interface Kept extends AttemptJob {
  submittedAtMs: number;
  idempotencyKey: string;
  /** Its command may run. */
  startedAtMs?: number;
  /** How it ended. */
  end?: FinalBody;
  /** SMS has its record. */
  adopted?: boolean;
}

interface Local {
  kept: Kept;
  /** Called when the room that it waits for is its own, or (false) it is SMS's now. */
  go: ((granted: boolean) => void) | undefined;
  /** Resolves when it has ended. */
  ended: PromiseWithResolvers<void>;
  /** Resolves when SMS has its end, or nobody wants it. */
  settled: PromiseWithResolvers<void>;
}

export interface LocalDeps {
  path: string;
  /** Most tasks that may wait or run before SMS knows of them. */
  most: number;
  capacity: Capacity;
  reports: Reports;
  /** What runs or is about to, except attempts that wait for their room here. */
  inUse: () => readonly AttemptJob[];
  /** Starts an attempt; resolves when it has left the node. */
  run: (job: AttemptJob) => Promise<unknown>;
  /** Ends an attempt that is another's now. */
  disown: (id: AttemptId) => void;
  /** Gives a task to SMS, under the id that it has. */
  submit: (spec: TaskSpec, idempotencyKey: string, job: AttemptJob) => Promise<unknown>;
  log: Log;
}

/** True if the needs of all are within the capacity. */
function fits(capacity: Capacity, jobs: readonly AttemptJob[]): boolean {
  let [cpu, memoryBytes] = [0, 0];
  const extras = new Map<string, number>();
  for (const { spec } of jobs) {
    const { resources = {} } = spec;
    cpu += Math.round((resources.cpu ?? specDefaults.cpu) * 1_000);
    memoryBytes += resources.memoryBytes ?? specDefaults.memoryBytes;
    for (const [name, count] of Object.entries(resources.extras ?? {}))
      extras.set(name, (extras.get(name) ?? 0) + count);
  }
  return (
    cpu <= Math.round(capacity.cpu * 1_000) &&
    memoryBytes <= capacity.memoryBytes &&
    jobs.length <= capacity.slots &&
    [...extras].every(([name, count]) => count <= (capacity.extras[name] ?? 0))
  );
}

export class LocalAttempts implements Upstream, Disposable {
  readonly #deps: LocalDeps;
  readonly #journal: Journal<Kept>;
  readonly #stop = new AbortController();
  /** In the order in which they were accepted. */
  readonly #all = new Map<string, Local>();

  constructor(deps: LocalDeps) {
    this.#deps = deps;
    this.#journal = Journal.open<Kept>(deps.path);
    for (const [key, kept] of this.#journal.entries()) this.#all.set(key, localOf(kept));
  }

  /** Goes on with what an earlier run has left; `isHeld` tells what was taken over already. */
  resume(isHeld: (id: AttemptId) => boolean): void {
    for (const [key, local] of this.#all) {
      const { kept } = local;
      if (kept.end !== undefined) void this.#settle(key, local);
      else if (isHeld(kept)) void this.#settle(key, local);
      // Its record is there: SMS finds out by the hello that the attempt is not.
      else if (kept.adopted === true) this.#forget(key, local);
      else this.#start(local);
    }
  }

  /**
   * Accepts a task that SMS can't be asked for. Throws `unavailable` if it needs SMS, or
   * more than the node has, `too_many_requests` if too many wait.
   */
  accept(job: AttemptJob, idempotencyKey: string): void {
    const { spec } = job;
    const needs = (["constraints", "exclusive", "delayMs", "antiAffinity"] as const).find(
      (field) => spec[field] !== undefined && spec[field] !== false && spec[field] !== 0,
    );
    if (needs !== undefined) {
      throw new Fault("unavailable", `SMS is away, and only it can judge spec.${needs}`, {
        field: `spec.${needs}`,
        help: `leave spec.${needs} out, or try again when SMS is back`,
      });
    }
    if (!fits(this.#deps.capacity, [job])) {
      throw new Fault("unavailable", "SMS is away, and the task needs more than this node has", {
        field: "spec.resources",
      });
    }
    if (this.#all.size >= this.#deps.most) {
      throw new Fault("too_many_requests", `${this.#all.size} tasks wait for SMS here already`);
    }
    const kept: Kept = { ...job, submittedAtMs: systemClock.nowMs(), idempotencyKey };
    this.#journal.set(attemptKey(job), kept);
    this.#start(this.#add(kept));
  }

  /** The task that was accepted here under a key. */
  byKey(idempotencyKey: string): AttemptJob | undefined {
    if (idempotencyKey === "") return undefined;
    const all = [...this.#all.values()];
    return all.find(({ kept }) => kept.idempotencyKey === idempotencyKey)?.kept;
  }

  /** An attempt of SMS's whose record is gone: it is told again, with all that is known of it. */
  restore(job: AttemptJob, startedAtMs: number, end: FinalBody | undefined): void {
    const key = attemptKey(job);
    if (this.#all.has(key)) return;
    const kept: Kept = {
      ...job,
      submittedAtMs: startedAtMs,
      startedAtMs,
      idempotencyKey: "",
      ...(end === undefined ? {} : { end }),
    };
    this.#journal.set(key, kept);
    void this.#settle(key, this.#add(kept));
  }

  #add(kept: Kept): Local {
    const local = localOf(kept);
    this.#all.set(attemptKey(kept), local);
    return local;
  }

  #start({ kept: { taskId, attempt, spec } }: Local): void {
    void this.#deps.run({ taskId, attempt, spec });
  }

  /** True while SMS has no record of it. */
  #isUnknown(id: AttemptId): boolean {
    const kept = this.#all.get(attemptKey(id))?.kept;
    return kept !== undefined && kept.adopted !== true;
  }

  /** Resolves when SMS knows of the attempt and of its end, at once if it is SMS's; or when aborted. */
  async told(id: AttemptId, signal: AbortSignal): Promise<void> {
    const local = this.#all.get(attemptKey(id));
    if (local !== undefined) await Promise.race([local.settled.promise, aborted(signal)]);
  }

  /** True if its command is to run again here, because SMS knows nothing of the last one. */
  beginsAgain(id: AttemptId): boolean {
    const local = this.#all.get(attemptKey(id));
    return local !== undefined && this.#isUnknown(id) && local.kept.end === undefined;
  }

  /** What a hello says of the attempts that are held, and of those that have ended. */
  held(ids: readonly AttemptId[]): HeldAttempt[] {
    const held = new Map<string, HeldAttempt>(
      ids.map(({ taskId, attempt }) => [attemptKey({ taskId, attempt }), { taskId, attempt }]),
    );
    for (const [key, { kept }] of this.#all) {
      const { taskId, attempt, startedAtMs } = kept;
      if (startedAtMs === undefined) held.delete(key);
      else if (kept.adopted !== true) held.set(key, { taskId, attempt, local: true });
    }
    return [...held.values()];
  }

  /** False if an attempt of SMS's has no room beside those that SMS does not know of. */
  hasRoomFor(job: AttemptJob): boolean {
    const { inUse, capacity } = this.#deps;
    // Those wait for their turn instead.
    if (this.#all.has(attemptKey(job))) return true;
    const unknown = [...this.#all.values()].some(
      ({ kept }) => kept.startedAtMs !== undefined && kept.end === undefined && !kept.adopted,
    );
    return !unknown || fits(capacity, [...this.#running(inUse()), job]);
  }

  /** Without those that wait for room. */
  #running(jobs: readonly AttemptJob[]): AttemptJob[] {
    return jobs.filter((job) => this.#all.get(attemptKey(job))?.go === undefined);
  }

  async claim(id: AttemptId, signal: AbortSignal): Promise<boolean> {
    const key = attemptKey(id);
    const local = this.#all.get(key);
    if (local === undefined || local.kept.adopted === true)
      return this.#deps.reports.claim(id, signal);
    signal.throwIfAborted();
    const turn = Promise.withResolvers<boolean>();
    local.go = turn.resolve;
    this.roomChanged();
    const granted = await Promise.race([turn.promise, aborted(signal).then(() => undefined)]);
    local.go = undefined;
    if (granted === undefined) throw signal.reason;
    if (granted) {
      this.#keep(key, local, { startedAtMs: systemClock.nowMs() });
      void this.#settle(key, local);
    }
    return granted;
  }

  /** Room was given back, or there is somebody new who waits for it: first come, first served. */
  roomChanged(): void {
    const { capacity, inUse } = this.#deps;
    for (const { go, kept } of this.#all.values()) {
      if (go === undefined) continue;
      const rest = this.#running(inUse()).filter((job) => attemptKey(job) !== attemptKey(kept));
      if (!fits(capacity, [...rest, kept])) return;
      const local = this.#all.get(attemptKey(kept)) as Local;
      local.go = undefined;
      go(true);
    }
  }

  async deliver(id: AttemptId, body: FinalBody): Promise<void> {
    const key = attemptKey(id);
    const local = this.#all.get(key);
    // It has ended, however long its report will take.
    this.roomChanged();
    if (local === undefined) return this.#deps.reports.deliver(id, body);
    // The node is going down; its next run begins anew what SMS knows nothing of.
    const stops = body.$case === "exit" && body.value.failure?.code === "node_stopped";
    if (stops && this.#isUnknown(id)) return;
    this.#keep(key, local, { end: body });
    local.ended.resolve();
    await local.settled.promise;
  }

  /** Tells SMS of the attempt until it has the record, and then of its end. */
  async #settle(key: string, local: Local): Promise<void> {
    const { reports, disown, log } = this.#deps;
    const { taskId, attempt } = local.kept;
    const id = { taskId, attempt };
    const { signal } = this.#stop;
    while (local.kept.adopted !== true) {
      let withEnd = false;
      const { stale, later } = await reports.tell(id, () => {
        withEnd = local.kept.end !== undefined;
        return { $case: "adoption", value: this.#adoption(local.kept) };
      });
      if (signal.aborted) return;
      if (later) {
        const ended = withEnd ? [] : [local.ended.promise];
        await Promise.race([...ended, systemClock.wait(againMs, signal).catch(() => undefined)]);
        continue;
      }
      if (stale) disown(id);
      else
        log.info({ ...id, ended: withEnd }, "sms has a record of an attempt that was ours alone");
      if (stale || withEnd) {
        this.#forget(key, local);
        return;
      }
      this.#keep(key, local, { adopted: true });
    }
    await local.ended.promise;
    if (local.kept.end === undefined) return;
    const delivered = reports.deliver(id, local.kept.end);
    // Only now, when the end is in the other journal.
    this.#journal.delete(key);
    this.#all.delete(key);
    await delivered;
    local.settled.resolve();
  }

  #adoption(kept: Kept): AttemptAdoption {
    const { spec, submittedAtMs, startedAtMs = submittedAtMs, idempotencyKey, end } = kept;
    return {
      spec: specToProto(spec),
      submittedAtMs,
      startedAtMs,
      idempotencyKey,
      session: this.#deps.reports.session,
      exit: end === undefined ? undefined : exitOf(end),
    };
  }

  /** SMS took the attempt away: nothing more is said about it. */
  drop(id: AttemptId): void {
    const local = this.#all.get(attemptKey(id));
    if (local !== undefined) this.#forget(attemptKey(id), local);
    this.#deps.reports.drop(id);
  }

  #keep(key: string, local: Local, more: Partial<Kept>): void {
    local.kept = { ...local.kept, ...more };
    this.#journal.set(key, local.kept);
  }

  #forget(key: string, local: Local): void {
    this.#journal.delete(key);
    this.#all.delete(key);
    local.go?.(false);
    local.ended.resolve();
    local.settled.resolve();
  }

  /** SMS is there: what still waits for room here may have it on any terms of SMS's. */
  async handOver(): Promise<void> {
    for (const [key, local] of this.#all) {
      const { kept, go } = local;
      if (go === undefined) continue;
      local.go = undefined;
      go(false);
      const { taskId, attempt, spec, idempotencyKey } = kept;
      try {
        await this.#deps.submit(spec, idempotencyKey, { taskId, attempt, spec });
        this.#forget(key, local);
      } catch (error) {
        const { code, message } = Fault.from(error);
        this.#deps.log.warn({ taskId, code, reason: message }, "sms did not take a task over");
        this.#start(local);
      }
    }
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
    this.#journal[Symbol.dispose]();
  }
}

function localOf(kept: Kept): Local {
  const ended = Promise.withResolvers<void>();
  if (kept.end !== undefined) ended.resolve();
  return { kept, go: undefined, ended, settled: Promise.withResolvers<void>() };
}

/** A refusal of what nobody but the node knew is a failure of the node. */
function exitOf(end: FinalBody): AttemptAdoption["exit"] {
  if (end.$case === "exit") return end.value;
  const { failure } = end.value;
  const state = taskStateToProto("failed");
  return {
    state,
    signal: "",
    failure,
    outputs: [],
    nodeFault: true,
    noOutput: true,
    hostcalls: [],
  };
}
