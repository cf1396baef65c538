/**
 * The Hostcall Controller: the one place where what a task asks of its node is
 * checked, counted and done, whichever wire it came over. Nothing is allowed that
 * the spec does not grant (S1); once the attempt has ended or a newer one exists
 * everything is refused (T3).
 */
import type { TSchema } from "@sinclair/typebox";
import type { HostcallUse } from "@spear/shared/audit.ts";
import { check } from "@spear/shared/check.ts";
import { systemClock } from "@spear/shared/clock.ts";
import { Fault } from "@spear/shared/fault.ts";
import { Grants, type Use } from "@spear/shared/grants.ts";
import {
  hostcallLimits,
  hostcalls,
  isHostcall,
  type Gives,
  type HostcallName,
  type Takes,
} from "@spear/shared/hostcalls.ts";
import type { NodeId } from "@spear/shared/ids.ts";
import type { TaskSpec } from "@spear/shared/task.ts";
import type { OutputSink } from "../agents/agent.ts";
import type { AttemptId } from "../executions/attempt.ts";
import { collect, counted, noBytes, piecesOf, type Body } from "./body.ts";
import type { Children } from "./children.ts";
import { Currency, staleAttempt } from "./current.ts";
import { KeyValue } from "./keyvalue.ts";
import { Ledger } from "./ledger.ts";
import { ObjectCalls, type ObjectSources } from "./objects.ts";
import { hostOf, send, urlOf } from "./outgoing.ts";
import { Rate } from "./rate.ts";
import type { ClusterRedis } from "./redis.ts";
import { Streams } from "./streams.ts";

export interface HostDeps {
  nodeId: NodeId;
  cluster: ClusterRedis;
  children: Children;
  sources: ObjectSources;
  /** Told of grants that were used for the first time, soon after. */
  onAudit: (id: AttemptId, uses: HostcallUse[]) => void;
}

/** What a call gives back: its result, and bytes if it has any. */
export interface Answer {
  result: object;
  body?: Body;
}

/** How long first uses are gathered before they are told, in milliseconds. */
const auditGapMs = 100;

type Params = Readonly<Record<string, unknown>>;

/** What a call is about, as a grant would name it; undefined if it needs none. */
function useOf(name: HostcallName, params: Params): Use | undefined {
  const shape = hostcalls[name];
  if (!("right" in shape)) return undefined;
  const { right } = shape;
  // The schema has seen to it that these are texts.
  const field = (key: string) => (params[key] ?? "") as string;
  switch (right) {
    case "object.read":
      return { right, target: name === "object.list" ? `${field("prefix")}*` : field("object") };
    case "object.write":
    case "object.keep":
      return { right, target: field("object") };
    case "keyvalue.read":
    case "keyvalue.write":
      return { right, target: name === "keyvalue.list" ? `${field("prefix")}*` : field("key") };
    case "config":
      return { right, target: name === "config.list" ? "*" : field("name") };
    case "http":
      return { right, target: hostOf(urlOf(params as Takes<"http.request">)) };
    default:
      return { right, target: "" };
  }
}

/** The hostcalls of one attempt. */
export class HostSession {
  readonly id: AttemptId;
  readonly #deps: HostDeps;
  readonly #spec: TaskSpec;
  readonly #output: OutputSink;
  readonly #grants: Grants;
  readonly #currency: Currency;
  readonly #ended = new AbortController();
  readonly #ledger: Ledger;
  readonly #objects: ObjectCalls;
  readonly #keyvalue: KeyValue;
  readonly #streams = new Streams();
  readonly #lines = new Rate("lines of log", 1_000, 10_000);
  readonly #requests = new Rate("HTTP requests", 100, 1_000);
  #inFlight = 0;
  #telling = false;

  /** `isolated`: it has no network, so that hostcalls are all it learns from. */
  constructor(
    id: AttemptId,
    spec: TaskSpec,
    output: OutputSink,
    deps: HostDeps,
    isolated: boolean,
  ) {
    this.id = id;
    this.#deps = deps;
    this.#spec = spec;
    this.#output = output;
    this.#grants = new Grants(spec.hostcalls ?? []);
    this.#currency = new Currency(deps.cluster, id);
    this.#ledger = new Ledger(() => this.#tellSoon());
    this.#objects = new ObjectCalls(deps.sources, id, isolated);
    this.#keyvalue = new KeyValue(deps.cluster, id);
  }

  /** What was asked so far. */
  uses(): HostcallUse[] {
    return this.#ledger.uses();
  }

  #tellSoon(): void {
    if (this.#telling) return;
    this.#telling = true;
    void systemClock.wait(auditGapMs).then(() => {
      this.#telling = false;
      if (!this.#ended.signal.aborted) this.#deps.onAudit(this.id, this.uses());
    });
  }

  /**
   * Makes a call. `signal` ends it early. Throws a `Fault`: `invalid_argument` for what
   * is wrong with it, `permission_denied` for what is not granted, `stale_attempt` once
   * the attempt is over, `too_many_requests`, and what the call itself runs into.
   */
  async call(
    name: string,
    asked: unknown,
    body: Body = noBytes,
    signal?: AbortSignal,
  ): Promise<Answer> {
    if (this.#ended.signal.aborted) throw staleAttempt();
    if (!isHostcall(name)) {
      throw new Fault("not_found", `there is no hostcall ${name}`, {
        help: `known: ${Object.keys(hostcalls).join(", ")}`,
      });
    }
    const params: Params = check<TSchema>(hostcalls[name].takes, asked) as Params;
    if (this.#inFlight >= hostcallLimits.inFlight) {
      throw new Fault("too_many_requests", `at most ${hostcallLimits.inFlight} calls at once`);
    }
    if (name !== "object.get") this.#objects.forget();
    const entry = this.#admit(useOf(name, params));
    const either =
      signal === undefined ? this.#ended.signal : AbortSignal.any([signal, this.#ended.signal]);
    const count = (bytes: number) => {
      if (entry !== undefined) entry.bytes += bytes;
    };
    this.#inFlight += 1;
    try {
      if (needsCurrency(name)) await this.#currency.check();
      if (body instanceof Uint8Array) count(body.length);
      const taken = body instanceof Uint8Array ? body : counted(body, count);
      const answer = await this.#perform(name, params, taken, either);
      if (this.#ended.signal.aborted) throw staleAttempt();
      if (answer.body === undefined) return answer;
      if (answer.body instanceof Uint8Array) count(answer.body.length);
      else answer.body = counted(answer.body, count);
      return answer;
    } catch (error) {
      if (this.#ended.signal.aborted) throw staleAttempt();
      throw error;
    } finally {
      this.#inFlight -= 1;
    }
  }

  /** Notes a use and refuses what is not granted. */
  #admit(use: Use | undefined): HostcallUse | undefined {
    if (use === undefined) return undefined;
    const grant = this.#grants.covering(use);
    const entry = this.#ledger.note(use, grant);
    if (grant !== undefined) return entry;
    const wanted = use.target === "" ? use.right : `${use.right}:${use.target}`;
    throw new Fault("permission_denied", `${wanted} is not granted to this task`, {
      help: `add "${wanted}" to the hostcalls of its spec`,
    });
  }

  async #perform(
    name: HostcallName,
    params: Params,
    body: Body,
    signal: AbortSignal,
  ): Promise<Answer> {
    switch (name) {
      case "object.get": {
        const { info, body } = await this.#objects.get(params as Takes<"object.get">, signal);
        return { result: info, body };
      }
      case "object.put":
        return { result: await this.#objects.put(params as Takes<"object.put">, body, signal) };
      case "object.stat":
        return { result: await this.#objects.stat(params as Takes<"object.stat">, signal) };
      case "object.list":
        return { result: await this.#objects.list(params as Takes<"object.list">, signal) };
      case "object.ref":
        return done(this.#objects.ref(params as Takes<"object.ref">, signal));
      case "object.unref":
        return done(this.#objects.unref(params as Takes<"object.unref">, signal));
      case "object.pin":
      case "object.unpin":
        return done(
          this.#objects.pin(params as Takes<"object.pin">, name === "object.pin", signal),
        );
      case "task.self":
        return { result: this.#self() };
      case "task.submit": {
        const asked = params as Takes<"task.submit">;
        return { result: await this.#deps.children.submit(this.id, asked, signal) };
      }
      case "task.wait": {
        const asked = params as Takes<"task.wait">;
        return { result: await this.#deps.children.wait(this.id.taskId, asked, signal) };
      }
      case "task.cancel": {
        const { taskId } = params as Takes<"task.cancel">;
        return done(this.#deps.children.cancel(this.id.taskId, taskId, signal));
      }
      case "log.write":
        return done(this.#log(params as Takes<"log.write">));
      case "config.get": {
        const value = this.#values().get((params as Takes<"config.get">).name);
        return { result: value === undefined ? {} : { value } };
      }
      case "config.list":
        return { result: { names: [...this.#values().keys()].toSorted() } };
      case "http.request":
        return this.#request(params as Takes<"http.request">, body, signal);
      default:
        return name.startsWith("keyvalue.")
          ? this.#withKey(name, params, body)
          : this.#withStream(name, params, body);
    }
  }

  #self(): Gives<"task.self"> {
    const { nodeId } = this.#deps;
    return { ...this.id, nodeId, hostcalls: this.#spec.hostcalls ?? [] };
  }

  /** The spec's own environment and secrets. */
  #values(): Map<string, string> {
    return new Map(Object.entries({ ...this.#spec.env, ...this.#spec.secrets }));
  }

  async #log({ level = "info", message, fields }: Takes<"log.write">): Promise<void> {
    this.#lines.take();
    const line = { level, time: systemClock.nowMs(), message, ...(fields && { fields }) };
    const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
    if (bytes.length > maxLineBytes) {
      throw new Fault("payload_too_large", `a line has at most ${maxLineBytes} bytes`, {
        field: "fields",
      });
    }
    await this.#output.write("system", bytes);
  }

  async #request(
    params: Takes<"http.request">,
    body: Body,
    signal: AbortSignal,
  ): Promise<{ result: Gives<"http.request">; body: AsyncIterable<Uint8Array> }> {
    this.#requests.take();
    return send(params, body, this.#grants.namesHost(hostOf(urlOf(params))), signal);
  }

  async #withKey(name: HostcallName, params: Params, body: Body): Promise<Answer> {
    switch (name) {
      case "keyvalue.get": {
        const { version, value } = await this.#keyvalue.get((params as Takes<"keyvalue.get">).key);
        return { result: { version }, body: value };
      }
      case "keyvalue.list": {
        const { prefix = "", after = "" } = params as Takes<"keyvalue.list">;
        return { result: await this.#keyvalue.list(prefix, after) };
      }
      case "keyvalue.set": {
        const { key, ifVersion } = params as Takes<"keyvalue.set">;
        const value = await collect(body, hostcallLimits.valueBytes, "the value");
        return { result: { version: await this.#keyvalue.set(key, value, ifVersion) } };
      }
      case "keyvalue.delete": {
        const { key, ifVersion } = params as Takes<"keyvalue.delete">;
        return { result: { version: await this.#keyvalue.delete(key, ifVersion) } };
      }
      default: {
        const { key, by = 1 } = params as Takes<"keyvalue.increment">;
        return { result: await this.#keyvalue.increment(key, by) };
      }
    }
  }

  async #withStream(name: HostcallName, params: Params, body: Body): Promise<Answer> {
    const { signal } = this.#ended;
    switch (name) {
      case "stream.open": {
        const { info, body } = await this.#objects.get(params as Takes<"stream.open">, signal);
        return { result: { ...info, stream: this.#streams.openReader(piecesOf(body)) } };
      }
      case "stream.create": {
        const asked = params as Takes<"stream.create">;
        const store = (bytes: Body) => this.#objects.put(asked, bytes, signal);
        return { result: { stream: this.#streams.openWriter(store) } };
      }
      case "stream.request": {
        const answer = await this.#request(params as Takes<"stream.request">, body, signal);
        return { result: { ...answer.result, stream: this.#streams.openReader(answer.body) } };
      }
      case "stream.read": {
        const { stream, maxBytes } = params as Takes<"stream.read">;
        const { bytes, end } = await this.#streams.read(stream, maxBytes);
        return { result: { end }, body: bytes };
      }
      case "stream.write": {
        const { stream } = params as Takes<"stream.write">;
        const bytes = await collect(body, hostcallLimits.pipeBytes, "one write");
        return done(this.#streams.write(stream, bytes));
      }
      case "stream.finish":
        return { result: await this.#streams.finish((params as Takes<"stream.finish">).stream) };
      default:
        return done(this.#streams.close((params as Takes<"stream.close">).stream));
    }
  }

  /** Refuses everything from now on, and ends what is under way. */
  async close(): Promise<void> {
    this.#ended.abort(staleAttempt());
    await this.#streams.closeAll();
  }
}

const maxLineBytes = 64 * 1024;

/** True for what reaches beyond the node. */
function needsCurrency(name: HostcallName): boolean {
  return !/^(?:log|config)\.|^task\.self$/.test(name);
}

async function done(work: Promise<void>): Promise<Answer> {
  await work;
  return { result: {} };
}
