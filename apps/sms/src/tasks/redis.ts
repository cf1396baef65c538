/**
 * Task records in Redis. Every change is one script (T2–T5); this file is their
 * typed wrapper and the reads beside them.
 */
import { type Answer, BatchedCalls } from "@spear/shared/batch.ts";
import { type JobId, jobOfOne, type NodeId, type TaskId } from "@spear/shared/ids.ts";
import { type Keys, keysLua } from "@spear/shared/redis/keys.ts";
import { defaultRetentionMs } from "@spear/shared/job.ts";
import { exclusiveStopMs } from "@spear/shared/lease.ts";
import { Script } from "@spear/shared/redis/script.ts";
import { transitionsLua, type TaskState } from "@spear/shared/state.ts";
import type { Event, Failure, OutputObject, TaskSpec } from "@spear/shared/task.ts";
import { runtimeOf } from "@spear/shared/task.ts";
import { Fault } from "@spear/shared/fault.ts";
import { hostcallLimits } from "@spear/shared/hostcalls.ts";
import type { Redis } from "ioredis";
import followLua from "../jobs/follow.lua" with { type: "text" };
import adoptLua from "./adopt.lua" with { type: "text" };
import cancelLua from "./cancel.lua" with { type: "text" };
import childLua from "./child.lua" with { type: "text" };
import cancellingLua from "./cancelling.lua" with { type: "text" };
import commitLua from "./commit.lua" with { type: "text" };
import commonLua from "./common.lua" with { type: "text" };
import evictLua from "./evict.lua" with { type: "text" };
import evictingLua from "./evicting.lua" with { type: "text" };
import preemptLua from "./preempt.lua" with { type: "text" };
import removeLua from "./remove.lua" with { type: "text" };
import promoteLua from "./promote.lua" with { type: "text" };
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
  type Parent,
  type Submitted,
  rankOf,
  recordFields,
  type TaskRecord,
} from "./record.ts";
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
} from "./store.ts";
import specsLua from "./specs.lua" with { type: "text" };
import submitLua from "./submit.lua" with { type: "text" };
import transitionLua from "./transition.lua" with { type: "text" };

/** Put before every script of SMS: keys, state machine, events, reservations, what follows for jobs. */
const preamble = [
  `${keysLua}${transitionsLua}local NOW, KEEP = ARGV[1], ARGV[2]
local EXCLUSIVE_STOP_MS = ${exclusiveStopMs}
local DEFAULT_RETENTION_MS = ${defaultRetentionMs}`,
  commonLua,
  followLua,
  cancellingLua,
].join("\n");

/**
 * A script of SMS: its lines between what all share and the end that all share. What
 * was changed before an error is settled too, so that the records still add up.
 */
export function smsScript<R>(name: string, keys: number, ...lines: string[]): Script<R> {
  const body = `local function body()\n${lines.join("\n")}\nend`;
  const end =
    "local ok, answer = pcall(body)\nsettle()\nif not ok then error(answer) end\nreturn answer";
  return new Script<R>(name, keys, [preamble, body, end].join("\n"));
}

const idempotencyMs = 24 * 3_600_000;

/** Changes that one call of a script makes at most: a few milliseconds of Redis. */
const together = 128;

type SubmitAnswer = [
  code: string, id: string, state: string, attempt: number, nodeId: string, seq: number,
]; // prettier-ignore
type ChangeAnswer = [code: string, attempt: number, nodeId: string, state: string];

const submit = smsScript<(string | number)[]>(
  "submit",
  1,
  `local MOST_DESCENDANTS = ${hostcallLimits.descendants}`,
  childLua,
  submitLua,
);
const transition = smsScript<(string | number)[]>("transition", 1, transitionLua);
const specs = new Script<string[]>("specs", 1, keysLua + specsLua);
const adopt = smsScript<[AdoptCode]>("adopt", 2, adoptLua);
const commit = smsScript<[string]>("commit", 2, commitLua);
const cancel = smsScript<[string, string, number]>("cancel", 2, cancelLua);
const evict = smsScript<[string, number]>("evict", 1, evictingLua, evictLua);
const preempt = smsScript<[string]>("preempt", 1, evictingLua, preemptLua);
const remove = smsScript<number>("task_remove", 1, removeLua);
const promote = smsScript<number>("promote", 1, promoteLua);

/** The time of calls that are carried out together. */
function latest(asked: readonly { nowMs: number }[]): number {
  return Math.max(...asked.map(({ nowMs }) => nowMs));
}

/** What submit.lua takes for a task, with what child.lua takes for one of a parent. */
function taskArguments(
  task: NewTask,
  parent: readonly (string | number)[],
  nowMs: number,
): (string | number)[] {
  const { id, spec } = task;
  const need = needOf(spec);
  return [
    id,
    task.jobId,
    JSON.stringify(spec),
    nameOf(id, spec),
    runtimeOf(spec),
    classOf(spec, task.jobId),
    rankOf(spec, nowMs),
    need.cpuMilli,
    need.memoryBytes,
    extrasText(need.extras),
    spec.delayMs === undefined || spec.delayMs === 0 ? 0 : nowMs + spec.delayMs,
    task.nodeId ?? "",
    task.idempotencyKey ?? "",
    heedOf(spec),
    ...parent,
  ];
}

/** What transition.lua takes for a change. */
function changeArguments(change: Transition): (string | number)[] {
  const set = pairs(change.set);
  return [
    change.id,
    change.to,
    change.attempt ?? "",
    change.nodeId ?? "",
    change.reason,
    change.notBeforeMs ?? 0,
    change.exitCode ?? "",
    set.length,
    ...set,
  ];
}

function pairs(set: Readonly<Record<string, string | number>> | undefined): (string | number)[] {
  return Object.entries(set ?? {}).flat();
}

export class TaskRecords implements RecordStore {
  readonly #redis: Redis;
  readonly #keys: Keys;
  readonly #eventsKept: number;
  readonly #submits = new BatchedCalls(
    together,
    (asked: readonly { task: NewTask; nowMs: number }[]) => this.#submitAll(asked),
  );
  readonly #transitions = new BatchedCalls(
    together,
    (asked: readonly { change: Transition; nowMs: number }[]) => this.#transitionAll(asked),
  );

  readonly #specs = new BatchedCalls(together, (ids: readonly TaskId[]) =>
    specs.run(this.#redis, [this.#keys.seq], [...ids]),
  );

  constructor(redis: Redis, keys: Keys, eventsKept: number) {
    this.#redis = redis;
    this.#keys = keys;
    this.#eventsKept = eventsKept;
  }

  /**
   * Creates a task; assigns it at once where `task.nodeId` has room. With a parent
   * throws `stale_attempt` and `too_many_requests`.
   */
  submit(task: NewTask, nowMs: number): Promise<Submitted> {
    return this.#submits.call({ task, nowMs });
  }

  /** Makes the record of an attempt of which only its node knew; see adopt.lua. */
  async adopt(adoption: Adoption, nowMs: number): Promise<AdoptCode> {
    const { id, spec, idempotencyKey, end } = adoption;
    const jobId = jobOfOne(id);
    const need = needOf(spec);
    const [code] = await adopt.run(
      this.#redis,
      [this.#keys.seq, this.#keys.task(id)],
      [
        nowMs,
        this.#eventsKept,
        id,
        jobId,
        JSON.stringify(spec),
        nameOf(id, spec),
        runtimeOf(spec),
        classOf(spec, jobId),
        rankOf(spec, adoption.submittedAtMs),
        need.cpuMilli,
        need.memoryBytes,
        extrasText(need.extras),
        heedOf(spec),
        idempotencyKey ?? "",
        idempotencyMs,
        adoption.nodeId,
        adoption.attempt,
        adoption.submittedAtMs,
        adoption.startedAtMs,
        end?.to ?? "running",
        end?.reason ?? "",
        end?.notBeforeMs ?? 0,
        end?.exitCode ?? "",
        ...pairs({ ...adoption.set, ...end?.set }),
      ],
    );
    return code;
  }

  async #submitAll(
    asked: readonly { task: NewTask; nowMs: number }[],
  ): Promise<Answer<Submitted>[]> {
    const nowMs = latest(asked);
    const parents = await Promise.all(asked.map(({ task }) => this.#parentArguments(task.parent)));
    const answers = await submit.run(
      this.#redis,
      [this.#keys.seq],
      [
        nowMs,
        this.#eventsKept,
        idempotencyMs,
        ...asked.flatMap(({ task }, index) => taskArguments(task, parents[index] ?? [], nowMs)),
      ],
    );
    return asked.map((_, index) => {
      const [code, id, state, attempt, nodeId, seq] = answers.slice(
        index * 6,
        index * 6 + 6,
      ) as SubmitAnswer;
      if (code === "error") return new Error(id);
      if (code === "stale") return new Fault("stale_attempt", "the attempt that submits is over");
      if (code === "full") {
        const most = hostcallLimits.descendants;
        return new Fault("too_many_requests", `a task has at most ${most} children and theirs`);
      }
      return {
        created: code === "created",
        id: id as TaskId,
        state: state as TaskState,
        attempt,
        nodeId: nodeId === "" ? undefined : (nodeId as NodeId),
        seq,
        atMs: nowMs,
      };
    });
  }

  /** What child.lua is told of a task's parent; blanks if it has none. */
  async #parentArguments(parent: Parent | undefined): Promise<(string | number)[]> {
    if (parent === undefined) return ["", "", "", "", ""];
    const { taskId, attempt, detached } = parent;
    // These never change, so that reading them before is as good.
    const [root, keysOf, jobId] = await this.#redis.hmget(this.#keys.task(taskId), "ro", "kj", "j");
    return [taskId, attempt, root ?? taskId, keysOf ?? jobId ?? "", detached ? "1" : "0"];
  }

  transition(change: Transition, nowMs: number): Promise<Outcome> {
    return this.#transitions.call({ change, nowMs });
  }

  async #transitionAll(
    asked: readonly { change: Transition; nowMs: number }[],
  ): Promise<Answer<Outcome>[]> {
    const answers = await transition.run(
      this.#redis,
      [this.#keys.seq],
      [latest(asked), this.#eventsKept, ...asked.flatMap(({ change }) => changeArguments(change))],
    );
    return asked.map((_, index) => {
      const [code, attempt, nodeId, state] = answers.slice(
        index * 4,
        index * 4 + 4,
      ) as ChangeAnswer;
      if (code === "error") return new Error(nodeId);
      return {
        code: code as Outcome["code"],
        attempt,
        nodeId: nodeId as NodeId,
        state: state as TaskState,
      };
    });
  }

  /** Makes this attempt the only one that may commit outputs (T3). */
  async beginCommit(
    id: TaskId,
    attempt: number,
    nodeId: NodeId,
    outputs: string,
    nowMs: number,
    set: Readonly<Record<string, string | number>>,
  ): Promise<CommitCode> {
    const [code] = await commit.run(
      this.#redis,
      [this.#keys.seq, this.#keys.task(id)],
      [nowMs, this.#eventsKept, attempt, nodeId, outputs, "cm", attempt, ...pairs(set)],
    );
    return code as CommitCode;
  }

  /** Asks a task to end; see cancel.lua. */
  async cancel(id: TaskId, nowMs: number): Promise<CancelOutcome> {
    const [code, nodeId, attempt] = await cancel.run(
      this.#redis,
      [this.#keys.seq, this.#keys.task(id)],
      [nowMs, this.#eventsKept, id],
    );
    return { code: code as CancelOutcome["code"], nodeId: nodeId as NodeId, attempt };
  }

  /** Asks for the room of an attempt back; see evicting.lua. */
  async evict(id: TaskId, attempt: number, failure: Failure, nowMs: number): Promise<EvictOutcome> {
    const [code, current] = await evict.run(
      this.#redis,
      [this.#keys.seq],
      [nowMs, this.#eventsKept, id, attempt, failure.code, JSON.stringify(failure)],
    );
    return { code: code as EvictOutcome["code"], attempt: current };
  }

  /** Takes room for a task of higher priority; see preempt.lua. */
  async preempt(preemption: Preemption, nowMs: number): Promise<PreemptCode> {
    const { nodeId, taskId, untilMs, failure, victims } = preemption;
    const [code] = await preempt.run(
      this.#redis,
      [this.#keys.seq],
      [
        nowMs,
        this.#eventsKept,
        nodeId,
        taskId,
        untilMs,
        failure.code,
        JSON.stringify(failure),
        ...victims.flatMap(({ id, attempt }) => [id, attempt]),
      ],
    );
    return code as PreemptCode;
  }

  /** Moves delayed tasks whose time has come; the number moved, at most `limit`. */
  promote(nowMs: number, limit: number): Promise<number> {
    return promote.run(this.#redis, [this.#keys.seq], [nowMs, this.#eventsKept, limit]);
  }

  /** Removes single tasks whose retention has passed; the number removed, at most `limit`. */
  removeExpired(nowMs: number, limit: number): Promise<number> {
    return remove.run(this.#redis, [this.#keys.seq], [nowMs, this.#eventsKept, limit]);
  }

  /** When the next delayed task is due; undefined if none is. */
  async nextDueMs(): Promise<number | undefined> {
    const [, due] = await this.#redis.zrange(this.#keys.delayed, 0, "0", "WITHSCORES");
    return due === undefined ? undefined : Number(due);
  }

  async get(id: TaskId): Promise<TaskRecord | undefined> {
    return decodeRecord(id, await this.#redis.hmget(this.#keys.task(id), ...recordFields));
  }

  /** Many records, in the order of `ids`; what is gone is left out. Call with at most 1,000. */
  async getMany(ids: readonly TaskId[]): Promise<TaskRecord[]> {
    const records = await Promise.all(ids.map((id) => this.get(id)));
    return records.filter((record) => record !== undefined);
  }

  /** The spec as submitted, secrets included: for the node, never to be shown. */
  async spec(id: TaskId): Promise<TaskSpec | undefined> {
    const text = await this.#specs.call(id);
    return text === "" ? undefined : (JSON.parse(text) as TaskSpec);
  }

  /** Outputs whose commit has begun and not ended; undefined if there is no such commit. */
  async stagedOutputs(id: TaskId): Promise<OutputObject[] | undefined> {
    const [state, committing, outputs] = await this.#redis.hmget(
      this.#keys.task(id),
      "s",
      "cm",
      "o",
    );
    if (state !== "running" || committing === null || outputs === null || outputs === undefined)
      return undefined;
    return JSON.parse(outputs) as OutputObject[];
  }

  /** All events of one task, oldest first; undefined if there is no such task. */
  async history(id: TaskId): Promise<Event[] | undefined> {
    const record = await this.#redis.hgetall(this.#keys.task(id));
    return record["s"] === undefined ? undefined : decodeHistory(id, Object.entries(record));
  }

  /** Ids below `before` (exclusive), newest first, of one state or of all. */
  idsBefore(
    state: TaskState | undefined,
    before: string | undefined,
    limit: number,
  ): Promise<TaskId[]> {
    const index = state === undefined ? this.#keys.tasks : this.#keys.tasksIn(state);
    const max = before === undefined ? "+" : `(${before}`;
    return this.#redis.zrevrangebylex(index, max, "-", "LIMIT", 0, limit) as Promise<TaskId[]>;
  }

  /** Ids above `after` (exclusive), oldest first, of one state. */
  idsAfter(state: TaskState, after: string | undefined, limit: number): Promise<TaskId[]> {
    const min = after === undefined ? "-" : `(${after}`;
    return this.#redis.zrangebylex(
      this.#keys.tasksIn(state),
      min,
      "+",
      "LIMIT",
      0,
      limit,
    ) as Promise<TaskId[]>;
  }

  /** How many of a job's tasks that heed each other hold room, by node. */
  async siblings(job: JobId): Promise<Map<NodeId, number>> {
    const counts = await this.#redis.hgetall(this.#keys.jobNodes(job));
    return new Map(
      Object.entries(counts).map(([nodeId, count]) => [nodeId as NodeId, Number(count)]),
    );
  }

  /** Tasks that hold capacity on a node. */
  heldBy(nodeId: NodeId): Promise<TaskId[]> {
    return this.#redis.smembers(this.#keys.nodeTasks(nodeId)) as Promise<TaskId[]>;
  }

  async countIn(state: TaskState): Promise<number> {
    return this.#redis.zcard(this.#keys.tasksIn(state));
  }

  /** How many tasks of a runtime are in a state, for each that has some. */
  async counts(): Promise<{ runtime: string; state: string; count: number }[]> {
    const counts = await this.#redis.hgetall(this.#keys.taskCounts);
    return Object.entries(counts).map(([field, count]) => {
      const [runtime = "", state = ""] = field.split(" ");
      return { runtime, state, count: Number(count) };
    });
  }

  /** Classes with waiting tasks, lowest rank first: `limit` of them from the `offset`th on. */
  async waitingClasses(offset: number, limit: number): Promise<Waiting[]> {
    const classes = await this.#redis.zrange(
      this.#keys.pendingClasses,
      offset,
      `${offset + limit - 1}`,
    );
    const heads = await Promise.all(
      classes.map((cls) => this.#redis.zrange(this.#keys.pendingClass(cls), 0, "0", "WITHSCORES")),
    );
    return classes.flatMap((cls, index) => {
      const [head, rank] = heads[index] ?? [];
      return head === undefined ? [] : [{ class: cls, head: head as TaskId, rank: Number(rank) }];
    });
  }

  /** How many of its class wait before a task; undefined if it does not wait for a node. */
  async aheadOf(id: TaskId): Promise<number | undefined> {
    const cls = await this.#redis.hget(this.#keys.task(id), "c");
    if (cls === null) return undefined;
    return (await this.#redis.zrank(this.#keys.pendingClass(cls), id)) ?? undefined;
  }

  /** The first `limit` waiting tasks of a class with their ranks. */
  async waiting(cls: string, limit: number): Promise<{ id: TaskId; rank: number }[]> {
    const flat = await this.#redis.zrange(
      this.#keys.pendingClass(cls),
      0,
      `${limit - 1}`,
      "WITHSCORES",
    );
    return Array.from({ length: flat.length / 2 }, (_, index) => ({
      id: flat[index * 2] as TaskId,
      rank: Number(flat[index * 2 + 1]),
    }));
  }
}
