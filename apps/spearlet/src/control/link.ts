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
import { attemptKey, attemptOf, type AttemptId } from "../executions/attempt.ts";
import type { Ownership } from "./ownership.ts";
import type { Hosts } from "../hostcalls/hosts.ts";
import type { Reports } from "./reports.ts";

export interface LinkOptions {
  smsAddress: string;
  joinToken: string;
  /** Secret by which SMS knows the node. */
  credential: string;
  /** This run of the SPEARlet. */
  incarnation: string;
  /** The node as it is to be known now. */
  describe: () => Node;
  usage: () => NodeUsage;
  /** Attempts that run here. */
  running: () => AttemptId[];
  reports: Reports;
  ownership: Ownership;
  hosts: Pick<Hosts, "attach" | "detach">;
  /** Connects to what the answer names. */
  onRegistered: (response: RegisterResponse) => Promise<void>;
  /** Ends an attempt, to be reported as cancelled. */
  cancel: (id: AttemptId) => void;
  /** Ends an attempt that belongs to another node now; it is not reported. */
  disown: (id: AttemptId) => void;
  readLogs: (read: LogRead, signal: AbortSignal) => AsyncIterable<LogChunk>;
  log: Log;
}

const firstPauseMs = 100;
const longestPauseMs = 5_000;
const welcomeTimeoutMs = 5_000;
const mostLogReads = 128;
/** Reports in one message. */
const mostReports = 256;

type Session = ReturnType<NodeServiceClient["session"]>;

export class Link implements AsyncDisposable {
  readonly #options: LinkOptions;
  readonly #client: NodeServiceClient;
  readonly #stop = new AbortController();
  readonly #firstTry = Promise.withResolvers<void>();
  readonly #replaced = Promise.withResolvers<Fault>();
  readonly #done: Promise<void>;
  #connected = false;
  #registered = false;
  #away = false;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#client = new NodeServiceClient(options.smsAddress, credentials.createInsecure(), {
      "grpc.keepalive_time_ms": 5_000,
      "grpc.keepalive_timeout_ms": 5_000,
      "grpc.initial_reconnect_backoff_ms": firstPauseMs,
      "grpc.max_reconnect_backoff_ms": 2_000,
      "grpc.max_receive_message_length": 4 << 20,
    });
    this.#done = this.#run(this.#stop.signal);
  }

  /** True while a session is open. */
  get connected(): boolean {
    return this.#connected;
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
      try {
        await this.announce(signal);
        this.#firstTry.resolve();
        await this.#session(signal, () => {
          failures = 0;
        });
      } catch (error) {
        if (signal.aborted) break;
        const fault = Fault.from(error);
        this.#note(fault);
        if (fault.code === "stale_incarnation") {
          this.#replaced.resolve(fault);
          break;
        }
      }
      this.#firstTry.resolve();
      failures += 1;
      await systemClock.wait(pauseMs(failures), signal).catch(() => undefined);
    }
    this.#firstTry.resolve();
  }

  /** Says once that SMS is away, not at every try. */
  #note(fault: Fault): void {
    if (this.#away) return;
    this.#away = true;
    const { smsAddress, log } = this.#options;
    const cause = fault.code === "internal" ? { err: fault.cause ?? fault } : {};
    const said = fault.code === "unauthenticated" ? "SMS does not let the node in" : "SMS is away";
    log.warn({ smsAddress, code: fault.code, reason: fault.message, ...cause }, said);
  }

  /** Tells SMS what the node is and offers now. */
  async announce(signal?: AbortSignal): Promise<void> {
    const { joinToken, credential, describe, onRegistered } = this.#options;
    const response = await unary(
      this.#client,
      this.#client.register,
      { node: describe(), joinToken, nodeCredential: credential },
      signal === undefined ? {} : { signal },
    );
    this.#registered = true;
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
    const { describe, incarnation, running, reports, ownership, hosts, log, smsAddress } =
      this.#options;
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
    const beat = () => {
      asked.push(ownership.stamp());
      send({ $case: "heartbeat", value: this.#options.usage() });
    };
    const held = new Map([...running(), ...reports.ends()].map((id) => [attemptKey(id), id]));
    send({
      $case: "hello",
      value: {
        nodeId: describe().id,
        incarnation,
        held: [...held.values()],
        clusterId: "",
        session: reports.nextSession(incarnation),
        nodeCredential: this.#options.credential,
      },
    });
    const reads = new LogReads(stream, this.#options, over.signal);
    const silence = setTimeout(() => stream.cancel(), welcomeTimeoutMs);
    let heartbeat: NodeJS.Timeout | undefined;
    try {
      for await (const { body } of messages<SessionResponse>(stream, signal)) {
        switch (body?.$case) {
          case "welcome":
            clearTimeout(silence);
            renewed(body.value.leaseMs);
            for (const attempt of body.value.disowned) this.#disown(attempt);
            this.#connected = true;
            this.#away = false;
            onWelcome();
            log.info({ smsAddress, nodeId: describe().id }, "session is open");
            clearInterval(heartbeat);
            heartbeat = setInterval(beat, body.value.heartbeatMs);
            beat();
            reports.attach((report) => outgoing.add(report));
            hosts.attach((value) => send({ $case: "audit", value }));
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
          case undefined:
            break;
        }
      }
      throw new Fault("unavailable", "SMS closed the session");
    } finally {
      this.#connected = false;
      clearTimeout(silence);
      clearInterval(heartbeat);
      reports.detach();
      hosts.detach();
      over.abort();
    }
  }

  #disown(held: HeldAttempt): void {
    const id = attemptOf(held);
    this.#options.reports.drop(id);
    this.#options.disown(id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Fault("cancelled", "the node stops"));
    await this.#done;
    this.#client.close();
  }
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
