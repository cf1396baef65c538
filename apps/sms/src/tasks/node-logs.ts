/**
 * Output of attempts that a node has, over the node's session where this replica has it,
 * else from the node's own gRPC listener: any replica can read any node.
 */
import { ChannelCredentials } from "@grpc/grpc-js";
import type { LogChunk } from "@spear/proto/gen/spear/common/v1/task.ts";
import { TaskServiceClient } from "@spear/proto/gen/spear/spearlet/v1/spearlet.ts";
import { Fault } from "@spear/shared/fault.ts";
import { messages } from "@spear/shared/grpc/client.ts";
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import type { Nodes } from "../nodes/nodes.ts";
import type { Sessions } from "../nodes/sessions.ts";

/** How long a node may take to answer the call. */
const connectMs = 2_000;

export interface AttemptRead {
  taskId: TaskId;
  attempt: number;
  /** Empty for all. */
  stream: string;
  follow: boolean;
  tailBytes: number | undefined;
}

export class NodeLogs {
  readonly #nodes: Nodes;
  readonly #sessions: Sessions;

  constructor(nodes: Nodes, sessions: Sessions) {
    this.#nodes = nodes;
    this.#sessions = sessions;
  }

  /** Until the attempt's end or the signal. Throws `logs_unavailable` if the node is away. */
  async *read(nodeId: NodeId, read: AttemptRead, signal: AbortSignal): AsyncGenerator<LogChunk> {
    const session = this.#sessions.get(nodeId);
    if (session !== undefined) {
      yield* session.readLogs(read, signal);
      return;
    }
    const client = new TaskServiceClient(
      await this.#addressOf(nodeId),
      ChannelCredentials.createInsecure(),
      // A node that vanished without a word must not hold a reader for ever.
      { "grpc.keepalive_time_ms": 5_000, "grpc.keepalive_timeout_ms": 5_000 },
    );
    try {
      await answering(client, nodeId);
      yield* messages(client.readLogs(read), signal);
    } catch (error) {
      const fault = Fault.from(error);
      throw fault.code === "unavailable" ? away(nodeId, fault) : fault;
    } finally {
      client.close();
    }
  }

  async #addressOf(nodeId: NodeId): Promise<string> {
    const node = await this.#nodes.get(nodeId).catch((error: unknown) => {
      throw away(nodeId, error);
    });
    // One that was given up, or has left, would only cost the time until it does not answer.
    if (node.state === "ready" || node.state === "draining") return node.grpcAddress;
    throw away(nodeId);
  }
}

function answering(client: TaskServiceClient, nodeId: NodeId): Promise<void> {
  return new Promise((resolve, reject) => {
    client.waitForReady(Date.now() + connectMs, (error) => {
      if (error === undefined) resolve();
      else reject(away(nodeId, error));
    });
  });
}

function away(nodeId: NodeId, cause?: unknown): Fault {
  return new Fault("logs_unavailable", `node ${nodeId}, which has the output, is away`, {
    help: "try again when the node is back",
    cause,
  });
}
