/** A whole cluster of real processes, and generic clients for its two interfaces. */
import {
  credentials,
  makeClientConstructor,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientWritableStream,
  type ServiceError,
} from "@grpc/grpc-js";
import type { Problem } from "@spear/shared/fault.ts";
import { grpcFault, messages, unary } from "@spear/shared/grpc/client.ts";
import { jsonDefinition } from "@spear/shared/grpc/descriptors.ts";
import { Cluster, until } from "../programs.ts";
import type { ProgramName } from "./operations.ts";

export type Json = Record<string, unknown>;

export interface Call {
  /** For the placeholders of the path. */
  path?: Record<string, string>;
  query?: Record<string, string>;
  headers?: Record<string, string>;
  /** JSON, or bytes as they are. */
  body?: unknown;
}

export interface Answer {
  status: number;
  headers: Headers;
  text: string;
  /** The body as JSON; {} if it is none. */
  json: Json;
}

export class World implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly #clients = new Map<string, InstanceType<ReturnType<typeof makeClientConstructor>>>();

  private constructor(cluster: Cluster) {
    this.cluster = cluster;
  }

  /** SMS, Store and one node that runs processes and mocks, ready for tasks. */
  static async start(): Promise<World> {
    const cluster = await Cluster.start({
      nodes: 1,
      store: true,
      spearlet: { runtimes: "process,mock" },
    });
    const world = new World(cluster);
    await until("the node to be ready", async () => {
      const { nodes } = await cluster.api<{ nodes: { state: string }[] }>("GET", "/v1/nodes");
      return nodes.some(({ state }) => state === "ready");
    });
    return world;
  }

  /** Where a program listens. */
  address(program: ProgramName): { http: string; grpc: string } {
    const { sms, store, nodes } = this.cluster;
    const running = { sms, store, spearlet: nodes[0] }[program];
    if (running === undefined) throw new Error(`${program} does not run`);
    return running;
  }

  /** The URL of an operation such as `GET /v1/tasks/{id}`. */
  url(program: ProgramName, operation: string, { path = {}, query = {} }: Call = {}): string {
    const filled = operation
      .slice(operation.indexOf(" ") + 1)
      .replaceAll(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(path[name] ?? ""));
    const search = new URLSearchParams(query).toString();
    return `http://${this.address(program).http}${filled}${search === "" ? "" : `?${search}`}`;
  }

  /** Calls a REST operation. */
  async rest(program: ProgramName, operation: string, call: Call = {}): Promise<Answer> {
    const raw = call.body instanceof Uint8Array || typeof call.body === "string";
    const response = await fetch(this.url(program, operation, call), {
      method: operation.slice(0, operation.indexOf(" ")),
      headers: {
        ...(call.body === undefined || raw ? {} : { "content-type": "application/json" }),
        ...call.headers,
      },
      ...(call.body === undefined
        ? {}
        : { body: raw ? (call.body as string) : JSON.stringify(call.body) }),
    });
    const text = await response.text();
    const isJson = /json/.test(response.headers.get("content-type") ?? "");
    return {
      status: response.status,
      headers: response.headers,
      text,
      json: isJson && !text.includes("\n") ? (JSON.parse(text) as Json) : {},
    };
  }

  /** Calls a REST operation that must answer with `status`; its JSON. */
  async ok(program: ProgramName, operation: string, call: Call = {}, status = 200): Promise<Json> {
    const answer = await this.rest(program, operation, call);
    if (answer.status === status) return answer.json;
    throw new Error(`${operation} answered ${answer.status}: ${answer.text}`);
  }

  /** Calls a REST operation that must fail; its problem document. */
  async problem(program: ProgramName, operation: string, call: Call = {}): Promise<Problem> {
    const { status, headers, json, text } = await this.rest(program, operation, call);
    if (headers.get("content-type") !== "application/problem+json" || json["status"] !== status) {
      throw new Error(`${operation} gave no problem document: ${status} ${text}`);
    }
    return json as unknown as Problem;
  }

  #client(program: ProgramName, service: string) {
    const name = service.includes(".") ? service : `spear.${program}.v1.${service}`;
    const key = `${program} ${name}`;
    let client = this.#clients.get(key);
    if (client === undefined) {
      const Client = makeClientConstructor(jsonDefinition(name), name);
      client = new Client(this.address(program).grpc, credentials.createInsecure());
      this.#clients.set(key, client);
    }
    return client;
  }

  #method<M>(program: ProgramName, method: string): { client: object; call: M } {
    const [service = "", name = ""] = method.split("/");
    const client = this.#client(program, service);
    return { client, call: client[name] as unknown as M };
  }

  /** Calls a unary method, as `TaskService/GetTask`. Rejects with a fault. */
  unary(program: ProgramName, method: string, request: Json): Promise<Json> {
    const { client, call } = this.#method<Parameters<typeof unary<Json, Json>>[1]>(program, method);
    return unary(client, call, request, { timeoutMs: 10_000 });
  }

  /** The messages of a server's stream. */
  stream(program: ProgramName, method: string, request: Json): AsyncGenerator<Json> {
    type Method = (request: Json) => ClientReadableStream<Json>;
    const { client, call } = this.#method<Method>(program, method);
    return messages(call.call(client, request));
  }

  /** Sends a stream and resolves with its one answer. */
  upload(program: ProgramName, method: string, requests: Json[]): Promise<Json> {
    type Callback = (error: ServiceError | null, response: Json) => void;
    const { client, call } = this.#method<(callback: Callback) => ClientWritableStream<Json>>(
      program,
      method,
    );
    const { promise, resolve, reject } = Promise.withResolvers<Json>();
    const sending = call.call(client, (error, response) => {
      if (error === null) resolve(response);
      else reject(grpcFault(error));
    });
    sending.on("error", () => undefined);
    for (const request of requests) sending.write(request);
    sending.end();
    return promise;
  }

  /** Opens a conversation. */
  converse(program: ProgramName, method: string): ClientDuplexStream<Json, Json> {
    type Method = () => ClientDuplexStream<Json, Json>;
    const { client, call } = this.#method<Method>(program, method);
    return call.call(client);
  }

  /** Submits a task and returns its id. */
  async submit(spec: Json): Promise<string> {
    const { status, json, text } = await this.rest("sms", "POST /v1/tasks", { body: { spec } });
    if (status !== 201) throw new Error(`the submit failed: ${status} ${text}`);
    return json["id"] as string;
  }

  /** Runs a task that asks its node for a value of its spec, and returns its id. */
  async asks(): Promise<string> {
    const ask = `await fetch("http://host/v1/config.get", {
      unix: process.env.SPEAR_HOST_SOCKET, method: "POST", body: '{"name":"A"}',
      headers: { authorization: "Bearer " + process.env.SPEAR_HOST_TOKEN } })`;
    const id = await this.submit({
      process: { command: [process.execPath, "-e", ask] },
      env: { A: "b" },
      hostcalls: ["config"],
      resources: { memoryBytes: 0 },
    });
    await this.reaches(id, "succeeded");
    return id;
  }

  /** A node that exists on paper only; it offers no runtime, so that nothing is placed on it. */
  async paperNode(): Promise<string> {
    const { nodeId } = await this.unary("sms", "NodeService/Register", {
      node: {
        name: "paper",
        httpAddress: "127.0.0.1:1",
        grpcAddress: "127.0.0.1:1",
        capacity: { cpu: 1, memoryBytes: "1", slots: 1 },
        incarnation: "first",
      },
    });
    return nodeId as string;
  }

  /** Waits until a task is in one of these states, and returns it. */
  reaches(id: string, ...states: string[]): Promise<Json> {
    return until(`${id} to be ${states.join(" or ")}`, async () => {
      const { json } = await this.rest("sms", "GET /v1/tasks/{id}", { path: { id } });
      return states.includes(json["state"] as string) && json;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients.values()) client.close();
    await this.cluster[Symbol.asyncDispose]();
  }
}
