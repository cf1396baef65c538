/**
 * What the tests of SPEARlet share: an SMS that does as the test tells it, over
 * the real wire and with a real queue, and nodes that register with it.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Queue } from "bullmq";
import type { Node } from "@spear/proto/gen/spear/common/v1/node.ts";
import {
  NodeServiceService,
  type AttemptExit,
  type AttemptReport,
  type LogReply,
  type NodeServiceServer,
  type SessionHello,
  type SessionRequest,
  type SessionResponse,
} from "@spear/proto/gen/spear/sms/v1/node.ts";
import { Channel } from "@spear/shared/channel.ts";
import { loadConfig } from "@spear/shared/config.ts";
import { Fault } from "@spear/shared/fault.ts";
import { Handlers } from "@spear/shared/grpc/handlers.ts";
import { startGrpc, type RunningGrpc } from "@spear/shared/grpc/server.ts";
import { systemIds, type NodeId } from "@spear/shared/ids.ts";
import { silentLog } from "@spear/shared/log.ts";
import { nodeQueueName, type Delivery } from "@spear/shared/queue.ts";
import { connectRedis } from "@spear/shared/redis/client.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import type { TaskSpec } from "@spear/shared/task.ts";
import { spearletConfig, type SpearletConfig } from "./config.ts";
import { attemptKey, type AttemptId } from "./executions/attempt.ts";
import { start } from "./spearlet.ts";

const downBound = 10_000;

/** Resolves with what `probe` gives, once it gives something; the test's timeout is the limit. */
export async function until<T>(probe: () => Promise<T | undefined> | T | undefined): Promise<T> {
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) return value;
    await Bun.sleep(5);
  }
}

/** A session that a node has opened. */
interface OpenSession {
  hello: SessionHello;
  down: Channel<SessionResponse>;
}

/** An SMS for one node, which grants and acknowledges unless it is told otherwise. */
export class ScriptedSms implements AsyncDisposable {
  readonly queuePrefix = new Keys(`spearlet-${crypto.randomUUID()}`).queuePrefix;
  readonly registrations: Node[] = [];
  readonly hellos: SessionHello[] = [];
  readonly deregistered: string[] = [];
  /** Claims and ends in the order in which they came, those that came again included. */
  readonly reports: AttemptReport[] = [];
  readonly heartbeats: unknown[] = [];
  /** Attempts that are answered as stale. */
  readonly stale = new Set<string>();
  /** Attempts that the next welcome takes away. */
  disowned: AttemptId[] = [];
  /** Reports are taken in but not answered. */
  silent = false;
  /** Heartbeats renew the lease. */
  renews = true;
  leaseMs = 10_000;
  storeUrl = "";
  readonly #redisUrl = Bun.env["SPEAR_TEST_REDIS"] ?? "";
  readonly #redis = connectRedis(this.#redisUrl, "blocking", silentLog);
  readonly #queues = new Map<NodeId, Queue<Delivery>>();
  readonly #replies = new Map<number, (reply: LogReply) => void>();
  #server: RunningGrpc | undefined;
  #session: OpenSession | undefined;
  #reads = 0;
  address = "127.0.0.1:0";

  static async start(): Promise<ScriptedSms> {
    const sms = new ScriptedSms();
    await sms.open();
    return sms;
  }

  /** Starts to listen, at the same address if it has listened before. */
  async open(): Promise<void> {
    const handlers = new Handlers(silentLog);
    const later = () => Promise.reject(new Fault("unimplemented", "not in this script"));
    const implementation: NodeServiceServer = {
      register: handlers.unary(({ node }) => Promise.resolve(this.#register(node as Node))),
      deregister: handlers.unary(({ nodeId }) => {
        this.deregistered.push(nodeId);
        return Promise.resolve({});
      }),
      session: handlers.bidi((requests) => this.#serve(requests)),
      updateStatus: handlers.unary(later),
      listNodes: handlers.unary(later),
      getNode: handlers.unary(later),
      drainNode: handlers.unary(later),
      cordonNode: handlers.unary(later),
      labelNode: handlers.unary(later),
      getNodeUsage: handlers.unary(later),
      createJoinToken: handlers.unary(later),
      listJoinTokens: handlers.unary(later),
      revokeJoinToken: handlers.unary(later),
    };
    const service = { definition: NodeServiceService, handlers: implementation };
    this.#server = await startGrpc(this.address, [service]);
    this.address = this.#server.address;
  }

  /** Breaks the session and stops listening. */
  async close(): Promise<void> {
    this.#session?.down.close();
    this.#session = undefined;
    await this.#server?.[Symbol.asyncDispose]();
    this.#server = undefined;
  }

  #register(node: Node) {
    this.registrations.push(node);
    return {
      nodeId: node.id,
      redisUrl: this.#redisUrl,
      queuePrefix: this.queuePrefix,
      storeUrl: this.storeUrl,
      leaseMs: this.leaseMs,
      heartbeatMs: 50,
      smsAddresses: [],
      clusterId: "",
    };
  }

  async *#serve(requests: AsyncIterable<SessionRequest>): AsyncGenerator<SessionResponse> {
    const down = new Channel<SessionResponse>(downBound);
    const closed = () => down.close();
    void this.#read(requests, down).then(closed, closed);
    yield* down;
  }

  async #read(
    requests: AsyncIterable<SessionRequest>,
    down: Channel<SessionResponse>,
  ): Promise<void> {
    for await (const { body } of requests) {
      switch (body?.$case) {
        case "hello":
          this.hellos.push(body.value);
          this.#session = { hello: body.value, down };
          down.push({
            body: {
              $case: "welcome",
              value: {
                leaseMs: this.leaseMs,
                heartbeatMs: 50,
                disowned: this.disowned,
                unknown: [],
              },
            },
          });
          this.disowned = [];
          break;
        case "heartbeat":
          this.heartbeats.push(body.value);
          if (this.renews)
            down.push({ body: { $case: "renewed", value: { leaseMs: this.leaseMs } } });
          break;
        case "reports":
          this.#take(body.value.reports, down);
          break;
        case "audit":
          break;
        case "log":
          this.#replies.get(body.value.readId)?.(body.value);
          break;
        case undefined:
          break;
      }
    }
  }

  #take(reports: readonly AttemptReport[], down: Channel<SessionResponse>): void {
    this.reports.push(...reports);
    if (this.silent) return;
    const acks = reports.map(({ reportId, taskId, attempt }) => ({
      reportId,
      stale: this.stale.has(`${taskId}-${attempt}`),
    }));
    down.push({ body: { $case: "acks", value: { acks } } });
  }

  #queue(nodeId: NodeId): Queue<Delivery> {
    let queue = this.#queues.get(nodeId);
    if (queue === undefined) {
      queue = new Queue(nodeQueueName(nodeId), {
        connection: this.#redis,
        prefix: this.queuePrefix,
      });
      this.#queues.set(nodeId, queue);
    }
    return queue;
  }

  /** Puts an attempt into a node's queue. */
  async assign(nodeId: NodeId, spec: TaskSpec, given: Partial<AttemptId> = {}): Promise<AttemptId> {
    const id = { taskId: given.taskId ?? systemIds.next("task"), attempt: given.attempt ?? 1 };
    await this.#queue(nodeId).add(
      "attempt",
      { attempts: [{ ...id, spec }] },
      { jobId: attemptKey(id) },
    );
    return id;
  }

  /** How the node's queue stands. */
  jobCounts(nodeId: NodeId): Promise<Record<string, number>> {
    return this.#queue(nodeId).getJobCounts();
  }

  cancel(id: AttemptId): void {
    this.#session?.down.push({ body: { $case: "cancel", value: { ...id } } });
  }

  /** What was reported of an attempt, as "claim", "exit" or "refusal". */
  said({ taskId, attempt }: AttemptId): string[] {
    return this.reports
      .filter((report) => report.taskId === taskId && report.attempt === attempt)
      .map(({ body }) => body?.$case ?? "");
  }

  /** Resolves with how an attempt ended, once that was reported. */
  exitOf({ taskId, attempt }: AttemptId): Promise<AttemptExit> {
    return until(() => {
      const found = this.reports.find(
        (report) =>
          report.taskId === taskId && report.attempt === attempt && report.body?.$case === "exit",
      );
      return found?.body?.$case === "exit" ? found.body.value : undefined;
    });
  }

  /** Reads output over the session; `onChunk` sees each piece as it comes. */
  readLogs(
    id: AttemptId,
    query: { stream?: string; follow?: boolean; tailBytes?: number } = {},
    onChunk: (reply: LogReply) => void = () => undefined,
  ): Promise<{ stdout: string; stderr: string; offsets: number[]; failure: string | undefined }> {
    const readId = ++this.#reads;
    const pieces: LogReply[] = [];
    const done = Promise.withResolvers<LogReply>();
    this.#replies.set(readId, (reply) => {
      if (reply.chunk !== undefined) pieces.push(reply);
      onChunk(reply);
      if (reply.done) done.resolve(reply);
    });
    const { stream = "", follow = false, tailBytes } = query;
    this.#session?.down.push({
      body: { $case: "read", value: { readId, ...id, stream, follow, tailBytes, stop: false } },
    });
    const text = (name: string) =>
      Buffer.concat(
        pieces
          .filter(({ chunk }) => chunk?.stream === name)
          .map(({ chunk }) => chunk?.data ?? Buffer.alloc(0)),
      ).toString("latin1");
    return done.promise.then(({ failure }) => ({
      stdout: text("stdout"),
      stderr: text("stderr"),
      offsets: pieces.map(({ chunk }) => chunk?.offset ?? 0),
      failure: failure?.code,
    }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
    for (const queue of this.#queues.values()) {
      await queue.obliterate({ force: true });
      await queue.close();
    }
    this.#redis.disconnect();
  }
}

export interface TestNode extends AsyncDisposable {
  readonly id: NodeId;
  readonly http: string;
  readonly grpc: string;
  readonly dataDir: string;
}

/** The settings of a node of this SMS. */
export function nodeConfig(
  sms: ScriptedSms,
  dataDir: string,
  settings: Partial<SpearletConfig> = {},
): SpearletConfig {
  return loadConfig("spearlet", spearletConfig, {
    flags: {
      httpListen: "127.0.0.1:0",
      grpcListen: "127.0.0.1:0",
      smsAddress: sms.address,
      dataDir,
      runtimes: ["process", "mock"],
      logLevel: "silent",
      ...settings,
    },
    environment: {},
  });
}

/** A node inside the test's own process, with its session open. */
export async function startNode(
  sms: ScriptedSms,
  settings: Partial<SpearletConfig> = {},
): Promise<TestNode> {
  const dataDir = settings.dataDir ?? (await mkdtemp(join(tmpdir(), "spear-node-")));
  const sessions = sms.hellos.length;
  const node = await start(nodeConfig(sms, dataDir, settings), { log: silentLog });
  const hello = await until(() => sms.hellos[sessions]);
  return {
    id: hello.nodeId as NodeId,
    http: node.http,
    grpc: node.grpc,
    dataDir,
    [Symbol.asyncDispose]: async () => {
      await node[Symbol.asyncDispose]();
      if (settings.dataDir === undefined) await rm(dataDir, { recursive: true, force: true });
    },
  };
}
