/**
 * What nodes report of attempts, turned into transitions. Every answer is
 * idempotent: a report that comes twice, or late, changes nothing (T2, T3).
 */
import type {
  AttemptAdoption,
  AttemptExit,
  AttemptReport,
} from "@spear/proto/gen/spear/sms/v1/node.ts";
import { taskStateFromProto } from "@spear/proto/enums.ts";
import type { Clock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import type { Log } from "@spear/shared/log.ts";
import type { TaskState } from "@spear/shared/state.ts";
import {
  checkTaskSpec,
  type Failure,
  type OutputObject,
  retryDelayMs,
  type Task,
  type TaskSpec,
} from "@spear/shared/task.ts";
import type { OutputPublisher } from "./outputs.ts";
import { type AfterEnd, sealField, type TaskRecord } from "./record.ts";
import type { Outcome, RecordStore } from "./store.ts";
import { specFromProto } from "./wire.ts";

/** The incarnation in a session's name; see AttemptClaim. */
const runOf = (session: string): string => session.split(" ", 1)[0] ?? "";

/** What a node is told of its report; `later`: it is to report it again. */
interface Answer {
  stale: boolean;
  later?: boolean;
}

type Fields = Record<string, string | number>;

/** What follows from a failed attempt, by the policy of its task. */
function afterFailure(
  attempt: number,
  task: Pick<Task, "spec" | "failures" | "cancelRequested">,
  state: "failed" | "timed_out",
  exit: AttemptExit,
  now: number,
): AfterEnd {
  const { spec } = task;
  const fields = fieldsOf(attempt, exit);
  const exited = exit.exitCode === undefined ? {} : { exitCode: exit.exitCode };
  if (task.cancelRequested) return { to: "cancelled", reason: "cancel", set: fields, ...exited };
  const failures = task.failures + 1;
  const set = { ...fields, fl: failures };
  const final =
    exit.exitCode !== undefined && (spec.retries?.noRetryExitCodes ?? []).includes(exit.exitCode);
  if (failures > (spec.retries?.max ?? 0) || final)
    return { to: state, reason: state === "failed" ? "exited" : "timeout", set, ...exited };
  const notBeforeMs = now + retryDelayMs(spec, failures);
  return { to: "pending", reason: "retry", notBeforeMs, set, ...exited };
}

/** What the record keeps of an exit. */
function fieldsOf(attempt: number, exit: AttemptExit): Fields {
  const fields: Fields = {};
  if (exit.noOutput) fields[sealField(attempt)] = "";
  if (exit.exitCode !== undefined) fields["x"] = exit.exitCode;
  if (exit.signal !== "") fields["sg"] = exit.signal;
  if (exit.usage !== undefined) fields["u"] = JSON.stringify(exit.usage);
  if (exit.failure !== undefined) fields["f"] = JSON.stringify(exit.failure);
  return fields;
}

export class Reports {
  readonly #records: RecordStore;
  readonly #outputs: Pick<OutputPublisher, "publish">;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #nodeFaultLimit: number;

  constructor(deps: {
    records: RecordStore;
    outputs: Pick<OutputPublisher, "publish">;
    clock: Clock;
    log: Log;
    nodeFaultLimit: number;
  }) {
    this.#records = deps.records;
    this.#outputs = deps.outputs;
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#nodeFaultLimit = deps.nodeFaultLimit;
  }

  /**
   * Writes a report into its record. `stale` means that the attempt is no longer
   * the node's. Throws `unavailable` while Redis or the store is away.
   */
  async take(nodeId: NodeId, report: AttemptReport): Promise<Answer> {
    const id = report.taskId as TaskId;
    const { attempt, body } = report;
    switch (body?.$case) {
      case "claim":
        return this.#claim(id, attempt, nodeId, body.value.session);
      case "refusal":
        return this.#backToPending(id, attempt, nodeId, "refused", body.value.failure, undefined);
      case "exit":
        return this.#exit(id, attempt, nodeId, body.value);
      case "adoption":
        return this.#adopt(id, attempt, nodeId, body.value);
      default:
        throw new Fault("invalid_argument", "report.body: nothing is reported", {
          field: "report.body",
        });
    }
  }

  async #claim(
    id: TaskId,
    attempt: number,
    nodeId: NodeId,
    session: string,
  ): Promise<{ stale: boolean }> {
    const outcome = await this.#records.transition(
      { id, to: "running", attempt, nodeId, reason: "claimed", set: { cs: session } },
      this.#clock.nowMs(),
    );
    if (outcome.code !== "again") return { stale: outcome.code !== "ok" };
    // The node asks again, unless an earlier run of it began the attempt and lost it.
    const claimedIn = (await this.#records.get(id))?.claimedIn;
    if (claimedIn === undefined || runOf(claimedIn) === runOf(session)) return { stale: false };
    await this.requeue(id, attempt, nodeId, "node_restarted");
    return { stale: true };
  }

  async #exit(
    id: TaskId,
    attempt: number,
    nodeId: NodeId,
    exit: AttemptExit,
  ): Promise<{ stale: boolean }> {
    const state = taskStateFromProto(exit.state, "report.exit.state");
    if (state === "succeeded") {
      if (exit.outputs.length > 0) return this.#commit(id, attempt, nodeId, exit);
      return this.#end(
        id,
        attempt,
        nodeId,
        "succeeded",
        "exited",
        fieldsOf(attempt, exit),
        exit.exitCode,
      );
    }
    if (exit.nodeFault) {
      return this.#backToPending(
        id,
        attempt,
        nodeId,
        "node_fault",
        exit.failure,
        fieldsOf(attempt, exit),
      );
    }
    if (state === "cancelled") {
      const record = await this.#records.get(id);
      if (record?.evicting !== undefined && !record.task.cancelRequested)
        return this.#putBack(id, attempt, nodeId, record.evicting);
      return this.#end(
        id,
        attempt,
        nodeId,
        "cancelled",
        "cancel",
        fieldsOf(attempt, exit),
        exit.exitCode,
      );
    }
    if (state !== "failed" && state !== "timed_out") {
      throw new Fault("invalid_argument", `report.exit.state: ${state} is no end`, {
        field: "report.exit.state",
      });
    }
    return this.#retryOrEnd(id, attempt, nodeId, state, exit);
  }

  async #retryOrEnd(
    id: TaskId,
    attempt: number,
    nodeId: NodeId,
    state: "failed" | "timed_out",
    exit: AttemptExit,
  ): Promise<{ stale: boolean }> {
    const record = await this.#records.get(id);
    if (record === undefined) return { stale: true };
    const now = this.#clock.nowMs();
    const after = afterFailure(attempt, record.task, state, exit, now);
    return answer(await this.#records.transition({ id, attempt, nodeId, ...after }, now));
  }

  /** An attempt of which only its node knew: its record is made, and goes on from where it is. */
  async #adopt(
    id: TaskId,
    attempt: number,
    nodeId: NodeId,
    adoption: AttemptAdoption,
  ): Promise<Answer> {
    const spec = checkTaskSpec(specFromProto(adoption.spec), "report.adoption.spec");
    const { exit, session, submittedAtMs, startedAtMs, idempotencyKey } = adoption;
    const now = this.#clock.nowMs();
    const code = await this.#records.adopt(
      {
        id,
        spec: { ...spec, nodeId },
        nodeId,
        attempt,
        submittedAtMs,
        startedAtMs,
        idempotencyKey: idempotencyKey === "" ? undefined : idempotencyKey,
        end: exit === undefined ? undefined : this.#afterEnd(attempt, spec, exit, now),
        set: { cs: session },
      },
      now,
    );
    switch (code) {
      case "ok":
        // Outputs get their names by the way that they always take.
        if (exit === undefined || exit.outputs.length === 0) return { stale: false };
        return this.#exit(id, attempt, nodeId, exit);
      case "known":
        return this.#goOn(id, attempt, nodeId, adoption);
      case "behind": {
        // Its submit did reach SMS, and nobody has begun it.
        const change = {
          id,
          to: "assigned",
          nodeId,
          attempt: attempt - 1,
          reason: "adopted",
        } as const;
        const outcome = await this.#records.transition(change, now);
        if (outcome.code !== "ok") return { stale: false, later: true };
        return this.#goOn(id, attempt, nodeId, adoption);
      }
      case "stale":
        return { stale: true };
      case "no_capacity":
        return { stale: false, later: true };
    }
  }

  /** The record is there: the attempt is claimed, and ends if it has ended. */
  async #goOn(
    id: TaskId,
    attempt: number,
    nodeId: NodeId,
    { session, exit }: AttemptAdoption,
  ): Promise<Answer> {
    const claimed = await this.#claim(id, attempt, nodeId, session);
    if (claimed.stale || exit === undefined) return claimed;
    return this.#exit(id, attempt, nodeId, exit);
  }

  /** What follows from the end of an adopted attempt; undefined if it has outputs to be named first. */
  #afterEnd(attempt: number, spec: TaskSpec, exit: AttemptExit, now: number): AfterEnd | undefined {
    const state = taskStateFromProto(exit.state, "report.adoption.exit.state");
    const set = fieldsOf(attempt, exit);
    const end = exit.exitCode === undefined ? { set } : { set, exitCode: exit.exitCode };
    if (exit.nodeFault) return { to: "pending", reason: "node_fault", set: { ...set, nf: 1 } };
    if (state === "succeeded")
      return exit.outputs.length > 0 ? undefined : { to: state, reason: "exited", ...end };
    if (state === "failed" || state === "timed_out")
      return afterFailure(attempt, { spec, failures: 0, cancelRequested: false }, state, exit, now);
    return { to: "cancelled", reason: "cancel", ...end };
  }

  /** Success with outputs: first win the commit, then name them, then say so (T3). */
  async #commit(
    id: TaskId,
    attempt: number,
    nodeId: NodeId,
    exit: AttemptExit,
  ): Promise<{ stale: boolean }> {
    const code = await this.#records.beginCommit(
      id, attempt, nodeId, JSON.stringify(exit.outputs), this.#clock.nowMs(), fieldsOf(attempt, exit),
    ); // prettier-ignore
    if (code !== "ok") return { stale: code !== "illegal" || (await this.#isForeign(id, attempt)) };
    return this.#publish(id, attempt, exit.outputs, exit.exitCode);
  }

  async #publish(
    id: TaskId,
    attempt: number,
    outputs: readonly OutputObject[],
    exitCode: number | undefined,
  ): Promise<{ stale: boolean }> {
    try {
      await this.#outputs.publish(outputs);
    } catch (error) {
      const fault = Fault.from(error);
      if (fault.row.retryable || fault.code === "internal") throw fault;
      const failure: Failure = { code: "outputs_failed", message: fault.message };
      return answer(
        await this.#records.transition(
          {
            id,
            to: "failed",
            attempt,
            reason: "outputs_failed",
            set: { f: JSON.stringify(failure) },
          },
          this.#clock.nowMs(),
        ),
      );
    }
    const outcome = await this.#records.transition(
      {
        id,
        to: "succeeded",
        attempt,
        reason: "exited",
        ...(exitCode === undefined ? {} : { exitCode }),
      },
      this.#clock.nowMs(),
    );
    return answer(outcome);
  }

  /** Finishes a commit that a crash or an outage of the store left half way. */
  async resumeCommit(record: TaskRecord, staged: readonly OutputObject[]): Promise<void> {
    if (record.committing === undefined) return;
    await this.#publish(record.task.id as TaskId, record.committing, staged, record.task.exitCode);
  }

  async #isForeign(id: TaskId, attempt: number): Promise<boolean> {
    return (await this.#records.get(id))?.task.attempt !== attempt;
  }

  async #end(
    id: TaskId,
    attempt: number,
    nodeId: NodeId,
    to: TaskState,
    reason: string,
    set: Fields,
    exitCode: number | undefined,
  ): Promise<{ stale: boolean }> {
    const outcome = await this.#records.transition(
      { id, to, attempt, nodeId, reason, set, ...(exitCode === undefined ? {} : { exitCode }) },
      this.#clock.nowMs(),
    );
    return answer(outcome);
  }

  /** Its room was asked back: it waits again, and neither it nor the node is to blame. */
  async #putBack(
    id: TaskId,
    attempt: number,
    nodeId: NodeId,
    failure: Failure,
  ): Promise<{ stale: boolean }> {
    const set = { f: JSON.stringify(failure) };
    return answer(
      await this.#records.transition(
        { id, to: "pending", attempt, nodeId, reason: failure.code, set },
        this.#clock.nowMs(),
      ),
    );
  }

  /** The node, not the command, is to blame: the task goes elsewhere without losing a try. */
  async #backToPending(
    id: TaskId,
    attempt: number,
    nodeId: NodeId,
    reason: string,
    failure: Failure | undefined,
    fields: Fields | undefined,
  ): Promise<{ stale: boolean }> {
    return answer(await this.requeue(id, attempt, nodeId, reason, failure, fields));
  }

  /**
   * Takes an attempt from a node that lost it. A task that has cost too many nodes
   * ends as failed instead of going on to the next.
   */
  async requeue(
    id: TaskId,
    attempt: number,
    nodeId: NodeId,
    reason: string,
    failure?: Failure,
    fields: Fields = {},
  ): Promise<Outcome> {
    const record = await this.#records.get(id);
    const faults = (record?.nodeFaults ?? 0) + 1;
    const running = record?.task.state === "running";
    const now = this.#clock.nowMs();
    if (running && faults > this.#nodeFaultLimit) {
      this.#log.warn({ taskId: id, nodeId, faults }, "a task has cost too many nodes");
      const why: Failure = {
        code: "node_fault_limit",
        message: `${faults} nodes were lost or failed under this task`,
      };
      return this.#records.transition(
        {
          id,
          to: "failed",
          attempt,
          nodeId,
          reason,
          set: { ...fields, nf: faults, f: JSON.stringify(why) },
        },
        now,
      );
    }
    return this.#records.transition(
      {
        id,
        to: "pending",
        attempt,
        nodeId,
        reason,
        set: {
          ...fields,
          ...(running ? { nf: faults } : {}),
          ...(failure === undefined ? {} : { f: JSON.stringify(failure) }),
        },
        // A refusal by the only fitting node must not spin.
        ...(reason === "refused" ? { notBeforeMs: now + 1_000 } : {}),
      },
      now,
    );
  }
}

function answer(outcome: Outcome): { stale: boolean } {
  return { stale: outcome.code === "stale" || outcome.code === "missing" };
}
