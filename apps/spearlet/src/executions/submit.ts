/** Submits made at this node: they go to SMS like any other, bound to this node. */
import { credentials } from "@grpc/grpc-js";
import type { Task as WireTask } from "@spear/proto/gen/spear/common/v1/task.ts";
import { TaskServiceClient } from "@spear/proto/gen/spear/sms/v1/task.ts";
import { Fault } from "@spear/shared/fault.ts";
import { unary } from "@spear/shared/grpc/client.ts";
import type { NodeId } from "@spear/shared/ids.ts";
import { checkTaskSpec } from "@spear/shared/task.ts";
import { specToProto } from "./wire.ts";

export class LocalSubmits implements Disposable {
  readonly #smsAddress: string;
  readonly #client: TaskServiceClient;
  readonly #nodeId: NodeId;

  constructor(smsAddress: string, nodeId: NodeId) {
    this.#smsAddress = smsAddress;
    this.#client = new TaskServiceClient(smsAddress, credentials.createInsecure());
    this.#nodeId = nodeId;
  }

  /**
   * Accepts a task for this node. Throws `invalid_argument` for a bad spec and
   * `unavailable` while SMS is away.
   */
  async submit(input: unknown, idempotencyKey: string): Promise<WireTask> {
    const spec = checkTaskSpec(input);
    const nodeId = this.#nodeId;
    if (spec.nodeId !== undefined && spec.nodeId !== nodeId) {
      throw new Fault("invalid_argument", `spec.nodeId: this node is ${nodeId}`, {
        field: "spec.nodeId",
        help: "submit it to SMS, or leave spec.nodeId out",
      });
    }
    try {
      return await unary(this.#client, this.#client.submitTask, {
        spec: specToProto({ ...spec, nodeId }),
        idempotencyKey,
      });
    } catch (error) {
      const fault = Fault.from(error);
      if (fault.code !== "unavailable") throw fault;
      throw new Fault("unavailable", `SMS at ${this.#smsAddress} does not answer`, {
        help: "check that SMS runs and that --sms-address is right, then try again",
        cause: fault,
      });
    }
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}
