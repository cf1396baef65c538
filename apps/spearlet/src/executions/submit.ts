/**
 * Submits made at this node. They go to SMS like any other, bound to this node; while SMS
 * is away the node accepts them itself. The id is made here before SMS is asked, so that a
 * submit whose answer was lost is the same task to both.
 */
import { credentials } from "@grpc/grpc-js";
import { taskStateToProto } from "@spear/proto/enums.ts";
import { Task as WireTask } from "@spear/proto/gen/spear/common/v1/task.ts";
import { TaskServiceClient } from "@spear/proto/gen/spear/sms/v1/task.ts";
import { systemClock } from "@spear/shared/clock.ts";
import { Fault, type FaultCode } from "@spear/shared/fault.ts";
import { unary } from "@spear/shared/grpc/client.ts";
import { type IdSource, jobOfOne, type NodeId } from "@spear/shared/ids.ts";
import type { AttemptJob } from "@spear/shared/queue.ts";
import { checkTaskSpec, type Runtime, runtimeOf, type TaskSpec } from "@spear/shared/task.ts";
import type { LocalAttempts } from "./local.ts";
import { specToProto } from "./wire.ts";

/** SMS is asked for no longer than this before the node accepts a task itself, in milliseconds. */
const patienceMs = 2_000;
const away: ReadonlySet<FaultCode> = new Set(["unavailable", "timeout", "cancelled"]);

export interface SubmitDeps {
  /** gRPC address of an SMS. */
  smsAddress: () => string;
  /** True while a session with SMS is open. */
  connected: () => boolean;
  nodeId: NodeId;
  ids: IdSource;
  locals: LocalAttempts;
  offers: (runtime: Runtime) => boolean;
}

export class LocalSubmits implements Disposable {
  readonly #deps: SubmitDeps;
  #client: { address: string; tasks: TaskServiceClient } | undefined;

  constructor(deps: SubmitDeps) {
    this.#deps = deps;
  }

  /**
   * Accepts a task for this node. Throws `invalid_argument` for a bad spec, and
   * `unavailable` while SMS is away for one that the node can't judge or run by itself.
   */
  async submit(input: unknown, idempotencyKey: string): Promise<WireTask> {
    const { nodeId, connected, ids, locals, offers } = this.#deps;
    const asked = checkTaskSpec(input);
    if (asked.nodeId !== undefined && asked.nodeId !== nodeId) {
      throw new Fault("invalid_argument", `spec.nodeId: this node is ${nodeId}`, {
        field: "spec.nodeId",
        help: "submit it to SMS, or leave spec.nodeId out",
      });
    }
    const known = locals.byKey(idempotencyKey);
    if (known !== undefined) return this.#view(known);
    const job = { taskId: ids.next("task"), attempt: 1, spec: { ...asked, nodeId } };
    if (connected()) {
      try {
        return await this.toSms(job.spec, idempotencyKey, job);
      } catch (error) {
        const fault = Fault.from(error);
        if (!away.has(fault.code)) throw fault;
      }
    }
    const runtime = runtimeOf(asked);
    if (!offers(runtime)) {
      throw new Fault("unavailable", `SMS is away, and this node does not offer ${runtime}`, {
        field: `spec.${runtime}`,
      });
    }
    locals.accept(job, idempotencyKey);
    return this.#view(job);
  }

  /** Gives a task to SMS under its id. Throws what SMS answers, `unavailable` if it is away. */
  toSms(spec: TaskSpec, idempotencyKey: string, { taskId }: AttemptJob): Promise<WireTask> {
    const address = this.#deps.smsAddress();
    if (this.#client?.address !== address) {
      this.#client?.tasks.close();
      const tasks = new TaskServiceClient(address, credentials.createInsecure());
      this.#client = { address, tasks };
    }
    const { tasks } = this.#client;
    const request = { spec: specToProto(spec), idempotencyKey, taskId };
    return unary(tasks, tasks.submitTask, request, { timeoutMs: patienceMs });
  }

  /** The task as it will stand in SMS's records. */
  #view({ taskId, attempt, spec }: AttemptJob): WireTask {
    return WireTask.fromPartial({
      id: taskId,
      jobId: jobOfOne(taskId),
      spec: { ...specToProto(spec), secrets: hidden(spec.secrets) },
      name: spec.name ?? taskId.slice(-8).toLowerCase(),
      state: taskStateToProto("assigned"),
      attempt,
      nodeId: this.#deps.nodeId,
      runtime: runtimeOf(spec),
      createdAtMs: systemClock.nowMs(),
    });
  }

  [Symbol.dispose](): void {
    this.#client?.tasks.close();
  }
}

/** Names of secrets stay, values go. */
function hidden(secrets: TaskSpec["secrets"]): Record<string, string> {
  return Object.fromEntries(Object.keys(secrets ?? {}).map((name) => [name, "***"]));
}
