/**
 * The node's tie to SMS: it registers, keeps one session open, renews the lease
 * by heartbeats, carries reports up and cancellations and log reads down. When
 * the tie breaks it is made again, for ever, with growing pauses.
 */
import { credentials, Metadata } from "@grpc/grpc-js";
import type { Node } from "@spear/proto/gen/spear/common/v1/node.ts";
import type { LogChunk } from "@spear/proto/gen/spear/common/v1/task.ts";
import {
  NodeServiceClient,
  type AttemptReport,
  type HeldAttempt,
  type LogRead,
  type RegisterResponse,
  type SessionRequest,
  type SessionResponse,
} from "@spear/proto/gen/spear/sms/v1/node.ts";
import { Batch } from "@spear/shared/batch.ts";
import { systemClock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import { messages, unary } from "@spear/shared/grpc/client.ts";
import type { Log } from "@spear/shared/log.ts";
import type { Moment } from "@spear/shared/lease.ts";
import type { NodeUsage } from "@spear/shared/node.ts";
import { attemptOf, type AttemptId } from "../executions/attempt.ts";
import type { ClusterLife } from "./identity.ts";
import type { Ownership } from "./ownership.ts";
import type { Hosts } from "../hostcalls/hosts.ts";
import type { SmsReplicas } from "./replicas.ts";
import type { Reports } from "./reports.ts";

export interface LinkOptions {
  replicas: SmsReplicas;
  joinToken: string;
  /** Secret by which SMS knows the node. */
  credential: string;
  /** This run of the SPEARlet. */
  incarnation: string;
  /** The node as it is to be known now. */
  describe: () => Node;
  usage: () => NodeUsage;
  /** Attempts that run here, or whose end waits for SMS. */
  held: () => HeldAttempt[];
  /** Which life of the cluster's data what is held is of; empty before the first. */
  cluster: ClusterLife;
  reports: Reports;
  ownership: Ownership;
  hosts: Pick<Hosts, "attach" | "detach">;
  /** Connects to what the answer names. */
  onRegistered: (response: RegisterResponse) => Promise<void>;
  /** Ends an attempt, to be reported as cancelled. */
  cancel: (id: AttemptId) => void;
  /** Ends an attempt that belongs to another node now; it is not reported. */
  disown: (id: AttemptId) => void;
  /** Tells SMS again of an attempt whose record is gone. */
  restore: (id: AttemptId) => void;
  /** A session is open. */
  onSession: () => void;
  readLogs: (read: LogRead, signal: AbortSignal) => AsyncIterable<LogChunk>;
  log: Log;
}

const firstPauseMs = 100;
const longestPauseMs = 5_000;
const welcomeTimeoutMs = 5_000;
/** How long one replica may take to answer where there are others, in milliseconds. */
const patienceMs = 1_500;
/** Part of the lease after which a heartbeat without an answer makes the node turn to another. */
const silentPart = 0.45;
/** A node that could be served by a better placed replica moves within this time, in milliseconds. */
const moveWithinMs = 3_000;
const mostLogReads = 128;
/** Reports in one message. */
const mostReports = 256;

type Session = ReturnType<NodeServiceClient["session"]>;

export class Link implements AsyncDisposable {
  readonly #options: LinkOptions;
  #client: NodeServiceClient;
  readonly #stop = new AbortController();
  readonly #firstTry = Promise.withResolvers<void>();
  readonly #replaced = Promise.withResolvers<Fault>();
  readonly #done: Promise<void>;
  #address: string;
  #connected = false;
  #registered = false;
  #away = false;
  /** The session was ended to turn to another replica. */
  #moving = false;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#address = options.replicas.next;
    this.#client = clientOf(this.#address);
    this.#done = this.#run(this.#stop.signal);
  }

  /** True while a session is open. */
  get connected(): boolean {
    return this.#connected;
  }

  /** gRPC address of the SMS that it turns to. */
  get smsAddress(): string {
    return this.#address;
  }

  /** Resolves when the first try to register has succeeded or failed. */
  get firstTry(): Promise<void> {
    return this.#firstTry.promise;
  }

  /** Resolves if another SPEARlet has taken this node's id. */
  get replaced(): Promise<Fault> {
    return this.#replaced.promise;
  }

  async #run(signal: AbortSignal): Promise<void> {
    let failures = 0;
    while (!signal.aborted) {
      this.#turnTo(this.#options.replicas.next);
      try {
        await this.announce(signal);
        this.#firstTry.resolve();
        await this.#session(signal, () => {
          failures = 0;
        });
      } catch (error) {
        if (signal.aborted) break;
        const fault = Fault.from(error);
        if (!this.#moving) this.#fails(fault);
        if (fault.code === "stale_incarnation") {
          this.#replaced.resolve(fault);
          break;
        }
      }
      this.#firstTry.resolve();
      if (this.#moving) {
        this.#moving = false;
        continue;
      }
      failures += 1;
      await systemClock.wait(pauseMs(failures), signal).catch(() => undefined);
    }
    this.#firstTry.resolve();
  }

  #turnTo(address: string): void {
    if (address === this.#address) return;
    this.#client.close();
    this.#address = address;
    this.#client = clientOf(address);
  }

  /** Another replica is next; says once that SMS is away, not at every try. */
  #fails(fault: Fault): void {
    const { replicas, log } = this.#options;
    const smsAddress = this.#address;
    replicas.failed(smsAddress);
    if (this.#away) return;
    this.#away = true;
    const cause = fault.code === "internal" ? { err: fault.cause ?? fault } : {};
    const said = fault.code === "unauthenticated" ? "SMS does not let the node in" : "SMS is away";
    log.warn({ smsAddress, code: fault.code, reason: fault.message, ...cause }, said);
  }

  /** Tells SMS what the node is and offers now. */
  async announce(signal?: AbortSignal): Promise<void> {
    const { joinToken, credential, describe, onRegistered, replicas } = this.#options;
    const timeoutMs = replicas.all.length > 1 ? patienceMs : welcomeTimeoutMs;
    const response = await unary(
      this.#client,
      this.#client.register,
      { node: describe(), joinToken, nodeCredential: credential },
      signal === undefined ? { timeoutMs } : { timeoutMs, signal },
    );
    this.#registered = true;
    replicas.learn(response.smsAddresses);
    await onRegistered(response);
  }

  /** Takes the node out of the cluster, if SMS can hear it. */
  async leave(timeoutMs: number): Promise<void> {
    const nodeId = this.#options.describe().id;
    if (!this.#registered) return;
    try {
      await unary(this.#client, this.#client.deregister, { nodeId }, { timeoutMs });
    } catch (error) {
      this.#options.log.warn({ reason: Fault.from(error).message }, "SMS did not hear the end");
    }
  }

  async #session(signal: AbortSignal, onWelcome: () => void): Promise<void> {
    const { describe, incarnation, held, cluster, reports, ownership, replicas, hosts, log } =
      this.#options;
    const smsAddress = this.#address;
    const over = new AbortController();
    const stream = this.#client.session(new Metadata());
    const send = (body: NonNullable<SessionRequest["body"]>) => stream.write({ body });
    const outgoing = new Batch<AttemptReport>((batch) => {
      // A message has a size limit, and an outage can leave many reports.
      for (let start = 0; start < batch.length; start += mostReports) {
        const reports = batch.slice(start, start + mostReports);
        send({ $case: "reports", value: { reports } });
      }
    });
    // SMS renews the lease in the order in which it is asked, first by the hello.
    const asked: Moment[] = [ownership.stamp()];
    const renewed = (leaseMs: number) => {
      const sent = asked.shift();
      if (sent !== undefined) ownership.granted(sent, leaseMs);
    };
    let silentMs = Infinity;
    const beat = () => {
      const now = ownership.stamp();
      const waitedMs = now.steadyMs - (asked[0]?.steadyMs ?? now.steadyMs);
      if (waitedMs > silentMs && replicas.all.length > 1) stream.cancel();
      asked.push(now);
      send({ $case: "heartbeat", value: this.#options.usage() });
    };
    send({
      $case: "hello",
      value: {
        nodeId: describe().id,
        incarnation,
        // Counted first: what is claimed from here on is not this hello's to judge.
        session: reports.nextSession(incarnation),
        nodeCredential: this.#options.credential,
        held: held(),
        clusterId: cluster.held,
      },
    });
    const reads = new LogReads(stream, this.#options, over.signal);
    const silence = setTimeout(() => stream.cancel(), welcomeTimeoutMs);
    let heartbeat: NodeJS.Timeout | undefined;
    let move: NodeJS.Timeout | undefined;
    try {
      for await (const { body } of messages<SessionResponse>(stream, signal)) {
        switch (body?.$case) {
          case "welcome":
            clearTimeout(silence);
            renewed(body.value.leaseMs);
            silentMs = body.value.leaseMs * silentPart;
            replicas.reached(smsAddress);
            for (const attempt of body.value.disowned) this.#options.disown(attemptOf(attempt));
            for (const attempt of body.value.unknown) this.#options.restore(attemptOf(attempt));
            cluster.settle();
            this.#connected = true;
            this.#away = false;
            onWelcome();
            log.info({ smsAddress, nodeId: describe().id }, "session is open");
            clearInterval(heartbeat);
            heartbeat = setInterval(beat, body.value.heartbeatMs);
            beat();
            reports.attach((report) => outgoing.add(report));
            hosts.attach((value) => send({ $case: "audit", value }));
            this.#options.onSession();
            break;
          case "renewed":
            renewed(body.value.leaseMs);
            break;
          case "acks":
            for (const ack of body.value.acks) reports.acknowledge(ack);
            break;
          case "cancel":
            this.#options.cancel(attemptOf(body.value));
            break;
          case "read":
            reads.handle(body.value);
            break;
          case "replicas":
            replicas.learn(body.value.smsAddresses);
            clearTimeout(move);
            // Not all at once.
            if (replicas.next !== smsAddress) {
              move = setTimeout(() => {
                this.#moving = true;
                stream.cancel();
              }, Math.random() * moveWithinMs);
            }
            break;
          case undefined:
            break;
        }
      }
      throw new Fault("unavailable", "SMS closed the session");
    } finally {
      this.#connected = false;
      clearTimeout(silence);
      clearInterval(heartbeat);
      clearTimeout(move);
      reports.detach();
      hosts.detach();
      over.abort();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Fault("cancelled", "the node stops"));
    await this.#done;
    this.#client.close();
  }
}

function clientOf(address: string): NodeServiceClient {
  return new NodeServiceClient(address, credentials.createInsecure(), {
    "grpc.keepalive_time_ms": 5_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.initial_reconnect_backoff_ms": firstPauseMs,
    "grpc.max_reconnect_backoff_ms": 2_000,
    "grpc.max_receive_message_length": 4 << 20,
  });
}

/** The log reads of one session, each sent no faster than SMS takes it. */
class LogReads {
  readonly #stream: Session;
  readonly #options: LinkOptions;
  readonly #over: AbortSignal;
  readonly #reads = new Map<number, AbortController>();

  constructor(stream: Session, options: LinkOptions, over: AbortSignal) {
    this.#stream = stream;
    this.#options = options;
    this.#over = over;
    // Each read adds listeners to both.
    stream.setMaxListeners(mostLogReads + 16);
  }

  handle(read: LogRead): void {
    if (read.stop) {
      this.#reads.get(read.readId)?.abort();
      return;
    }
    void this.#serve(read);
  }

  async #serve(read: LogRead): Promise<void> {
    const { readId } = read;
    const stop = new AbortController();
    try {
      if (this.#reads.size >= mostLogReads) {
        throw new Fault("too_many_requests", "the node serves as many log reads as it can");
      }
      this.#reads.set(readId, stop);
      const signal = AbortSignal.any([stop.signal, this.#over]);
      for await (const chunk of this.#options.readLogs(read, signal)) {
        await this.#send({ readId, chunk, done: false }, signal);
      }
      await this.#send({ readId, done: true }, signal);
    } catch (error) {
      const { code, message } = Fault.from(error);
      if (code === "internal") this.#options.log.warn({ err: error }, "log read failed");
      if (!this.#over.aborted) {
        this.#stream.write({
          body: { $case: "log", value: { readId, done: true, failure: { code, message } } },
        });
      }
    } finally {
      this.#reads.delete(readId);
    }
  }

  async #send(
    value: Extract<NonNullable<SessionRequest["body"]>, { $case: "log" }>["value"],
    signal: AbortSignal,
  ): Promise<void> {
    if (signal.aborted || this.#stream.write({ body: { $case: "log", value } })) return;
    const ready = Promise.withResolvers<void>();
    this.#stream.once("drain", ready.resolve);
    signal.addEventListener("abort", () => ready.resolve(), { once: true });
    await ready.promise;
    this.#stream.off("drain", ready.resolve);
  }
}

/** Doubles with each failure, up to a bound; random, so that nodes don't come all at once. */
function pauseMs(failures: number): number {
  const most = Math.min(firstPauseMs * 2 ** (failures - 1), longestPauseMs);
  return most * (0.5 + Math.random() / 2);
}
