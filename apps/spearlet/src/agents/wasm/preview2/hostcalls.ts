/**
 * The interfaces of `spear:host` (libs/task/wit/host.wit) for one component: each
 * function is one hostcall. A failure is thrown as the bindings want it said.
 */
import { hostcallLimits, type Gives, type ObjectInfo } from "@spear/shared/hostcalls.ts";
import { CallFailed, hostcall } from "../hostcall.ts";

type Pairs = [string, string][];

/** Makes a call; its failure becomes the guest's. */
function call<R extends object>(
  name: Parameters<typeof hostcall>[0],
  params: unknown,
  bytes?: Uint8Array,
): { result: R; bytes: Uint8Array } {
  try {
    return hostcall<R>(name, params, bytes);
  } catch (error) {
    if (!(error instanceof CallFailed)) throw error;
    const { code, detail, help, retryable } = error.problem;
    throw Object.assign(error, { payload: { code, message: detail, help, retryable } });
  }
}

/** Parameters without those that are not given. */
function given(params: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(params)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => [name, typeof value === "bigint" ? Number(value) : value]),
  );
}

/** A stream of the node; its number is all that the guest's side has of it. */
class Stream {
  readonly number: number;

  constructor(number: number) {
    this.number = number;
  }

  [Symbol.dispose](): void {
    // It may have ended, or the attempt may be over.
    try {
      hostcall("stream.close", { stream: this.number });
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error;
    }
  }
}

class Reader extends Stream {
  read(maxBytes: number): Uint8Array | undefined {
    const most = Math.max(1, Math.min(maxBytes, hostcallLimits.pipeBytes));
    const params = { stream: this.number, maxBytes: most };
    const { result, bytes } = call<Gives<"stream.read">>("stream.read", params);
    return result.end ? undefined : bytes;
  }
}

class Writer extends Stream {
  write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += hostcallLimits.pipeBytes) {
      const piece = bytes.subarray(at, at + hostcallLimits.pipeBytes);
      call("stream.write", { stream: this.number }, piece);
    }
  }
}

function infoOf({ sizeBytes, generation, metadata, ...rest }: ObjectInfo) {
  return {
    ...rest,
    size: BigInt(sizeBytes),
    generation: BigInt(generation),
    metadata: Object.entries(metadata),
  };
}

interface PutOptions {
  contentType?: string;
  metadata: Pairs;
  ifAbsent: boolean;
  ifGeneration?: bigint;
}

function putOf(object: string, { metadata, ...options }: PutOptions): Record<string, unknown> {
  return given({ object, ...options, metadata: Object.fromEntries(metadata) });
}

const simple = (name: Parameters<typeof hostcall>[0]) => (object: string) => {
  call(name, { object });
};

const object = {
  Reader,
  Writer,
  get: (object: string) => call("object.get", { object }).bytes,
  open: (object: string, offset: bigint) => {
    const params = given({ object, offset });
    const { result } = call<Gives<"stream.open">>("stream.open", params);
    const { stream, ...info } = result;
    return [infoOf(info), new Reader(stream)];
  },
  put: (object: string, bytes: Uint8Array, options: PutOptions) =>
    infoOf(call<ObjectInfo>("object.put", putOf(object, options), bytes).result),
  create: (object: string, options: PutOptions) =>
    new Writer(call<Gives<"stream.create">>("stream.create", putOf(object, options)).result.stream),
  finish: ({ number: stream }: Writer) =>
    infoOf(call<ObjectInfo>("stream.finish", { stream }).result),
  stat: (object: string) => infoOf(call<ObjectInfo>("object.stat", { object }).result),
  listObjects: (prefix: string, pageToken: string | undefined) => {
    const params = given({ prefix, pageToken });
    const { result } = call<Gives<"object.list">>("object.list", params);
    return { objects: result.objects.map(infoOf), nextPageToken: result.nextPageToken };
  },
  ref: (object: string, ttlMs: bigint | undefined) => {
    call("object.ref", given({ object, ttlMs }));
  },
  unref: simple("object.unref"),
  pin: simple("object.pin"),
  unpin: simple("object.unpin"),
};

const task = {
  selfIdentity: () => call("task.self", {}).result,
  submit: (spec: string, key: string | undefined, detached: boolean) => {
    const params = given({ spec: parsed(spec), key, detached });
    return call<Gives<"task.submit">>("task.submit", params).result.taskId;
  },
  wait: (taskId: string, timeoutMs: number) => {
    const { result } = call<Gives<"task.wait">>("task.wait", { taskId, timeoutMs });
    const { state, exitCode, failure } = result;
    return { state, exitCode, failure: failure && `${failure.code}: ${failure.message}` };
  },
  cancel: (taskId: string) => {
    call("task.cancel", { taskId });
  },
};

/** A spec in JSON; what is none is passed on, and refused by name. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

const log = {
  write: (level: string, message: string, fields: Pairs) => {
    call("log.write", { level, message, fields: Object.fromEntries(fields) });
  },
};

const config = {
  get: (name: string) => call<Gives<"config.get">>("config.get", { name }).result.value,
  listNames: () => call<Gives<"config.list">>("config.list", {}).result.names,
};

const keyvalue = {
  get: (key: string) => {
    const { result, bytes } = call<Gives<"keyvalue.get">>("keyvalue.get", { key });
    const { version } = result;
    return version === 0 ? undefined : { value: bytes, version: BigInt(version) };
  },
  set: (key: string, value: Uint8Array, ifVersion: bigint | undefined) => {
    const params = given({ key, ifVersion });
    return BigInt(call<Gives<"keyvalue.set">>("keyvalue.set", params, value).result.version);
  },
  delete: (key: string, ifVersion: bigint | undefined) => {
    call("keyvalue.delete", given({ key, ifVersion }));
  },
  increment: (key: string, delta: bigint) => {
    const params = given({ key, by: delta });
    return BigInt(call<Gives<"keyvalue.increment">>("keyvalue.increment", params).result.value);
  },
  listKeys: (prefix: string, after: string) =>
    call<Gives<"keyvalue.list">>("keyvalue.list", { prefix, after }).result,
};

interface Request {
  method: string;
  url: string;
  headers: Pairs;
  body: Uint8Array;
  timeoutMs?: number;
}

const http = {
  send: ({ headers, body, ...rest }: Request) => {
    const params = given({ ...rest, headers: Object.fromEntries(headers) });
    const { result } = call<Gives<"stream.request">>("stream.request", params, body);
    const response = { status: result.status, headers: Object.entries(result.headers) };
    return [response, new Reader(result.stream)];
  },
};

/** By the names under which components import them, without version. */
export const hostInterfaces: Record<string, Record<string, unknown>> = {
  "spear:host/types": { Reader },
  "spear:host/object": object,
  "spear:host/task": task,
  "spear:host/log": log,
  "spear:host/config": config,
  "spear:host/keyvalue": keyvalue,
  "spear:host/http": http,
};
