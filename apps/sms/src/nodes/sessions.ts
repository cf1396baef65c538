/**
 * The open sessions of nodes on this replica: messages down to a node, and log
 * reads that come back as streams. A node has at most one; a newer one replaces it.
 */
import { Batch } from "@spear/shared/batch.ts";
import { Channel } from "@spear/shared/channel.ts";
import { Fault } from "@spear/shared/fault.ts";
import type { NodeId, TaskId } from "@spear/shared/ids.ts";
import type { LogChunk } from "@spear/proto/gen/spear/common/v1/task.ts";
import type {
  LogRead,
  LogReply,
  ReportAck,
  SessionResponse,
} from "@spear/proto/gen/spear/sms/v1/node.ts";

/** Messages that may wait for a slow node before its session is cut. */
const downBound = 100_000;
/** Log chunks that may wait for a slow reader before its read is cut. */
const readBound = 4_096;

export class Session {
  readonly nodeId: NodeId;
  readonly incarnation: string;
  /** Messages to the node; the transport iterates it. */
  readonly down = new Channel<SessionResponse>(downBound);
  readonly #reads = new Map<number, Channel<LogChunk>>();
  readonly #acks = new Batch<ReportAck>((acks) => this.send({ $case: "acks", value: { acks } }));
  #nextRead = 1;

  constructor(nodeId: NodeId, incarnation: string) {
    this.nodeId = nodeId;
    this.incarnation = incarnation;
  }

  send(body: NonNullable<SessionResponse["body"]>): void {
    if (!this.down.push({ body })) {
      this.close(new Fault("too_many_requests", "the node does not read its session"));
    }
  }

  /** Tells the node that a report is in its record. */
  acknowledge(ack: ReportAck): void {
    this.#acks.add(ack);
  }

  /** Output of an attempt, until its end or the signal. */
  async *readLogs(
    read: {
      taskId: TaskId;
      attempt: number;
      stream: string;
      follow: boolean;
      tailBytes: number | undefined;
    },
    signal: AbortSignal,
  ): AsyncGenerator<LogChunk> {
    const readId = this.#nextRead++;
    const chunks = new Channel<LogChunk>(readBound);
    this.#reads.set(readId, chunks);
    const request: LogRead = { ...read, readId, stop: false };
    const stop = () => chunks.close();
    signal.addEventListener("abort", stop, { once: true });
    try {
      this.send({ $case: "read", value: request });
      yield* chunks;
    } finally {
      signal.removeEventListener("abort", stop);
      if (this.#reads.delete(readId))
        this.send({ $case: "read", value: { ...request, stop: true } });
    }
  }

  /** Hands a reply to the read that waits for it. */
  onLogReply(reply: LogReply): void {
    const chunks = this.#reads.get(reply.readId);
    if (chunks === undefined) return;
    if (reply.failure !== undefined) {
      this.#reads.delete(reply.readId);
      chunks.close(new Fault("logs_unavailable", reply.failure.message));
      return;
    }
    if (reply.chunk !== undefined && !chunks.push(reply.chunk)) {
      chunks.close(new Fault("too_many_requests", "the reader of this output is too slow"));
      return;
    }
    if (reply.done) {
      this.#reads.delete(reply.readId);
      chunks.close();
    }
  }

  close(reason?: Fault): void {
    this.down.close(reason);
    const gone = new Fault("logs_unavailable", `the session of ${this.nodeId} ended`);
    for (const chunks of this.#reads.values()) chunks.close(gone);
    this.#reads.clear();
  }
}

export class Sessions {
  readonly #open = new Map<NodeId, Session>();

  get(nodeId: NodeId): Session | undefined {
    return this.#open.get(nodeId);
  }

  /** Opens a session in place of any older one of the node. */
  open(nodeId: NodeId, incarnation: string): Session {
    this.#open.get(nodeId)?.close(new Fault("conflict", "a newer session of the node was opened"));
    const session = new Session(nodeId, incarnation);
    this.#open.set(nodeId, session);
    return session;
  }

  /** Forgets a session; false if a newer one has taken its place. */
  forget(session: Session): boolean {
    session.close();
    if (this.#open.get(session.nodeId) !== session) return false;
    return this.#open.delete(session.nodeId);
  }

  /** Tells every node that has its session here. */
  tellAll(body: NonNullable<SessionResponse["body"]>): void {
    for (const session of this.#open.values()) session.send(body);
  }

  closeAll(): void {
    for (const session of this.#open.values())
      session.close(new Fault("unavailable", "SMS is stopping"));
  }
}
