/**
 * Handlers of gRPC calls: plain async functions over messages; this file turns
 * faults into statuses and streams into async iterables with backpressure.
 */
import { Metadata } from "@grpc/grpc-js";
import type {
  handleBidiStreamingCall,
  handleClientStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  ServiceDefinition,
  StatusObject,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import type { Readable } from "node:stream";
import { Fault } from "../fault.ts";
import type { Log } from "../log.ts";

/** A service as a server takes it. */
export interface GrpcService {
  definition: ServiceDefinition;
  handlers: UntypedServiceImplementation;
}

/** What a handler knows about its call. */
export interface CallContext {
  /** Aborts when the caller went away or its deadline passed. */
  readonly signal: AbortSignal;
  readonly metadata: Metadata;
  /** Address of the caller. */
  readonly peer: string;
}

/** Request that could not be decoded; stands in for the message until a handler sees it. */
export class Undecodable {
  readonly reason: string;
  constructor(reason: string) {
    this.reason = reason;
  }
}

interface AnyCall {
  metadata: Metadata;
  cancelled: boolean;
  getPeer(): string;
  on(event: "cancelled", listener: () => void): unknown;
}

function contextOf(call: AnyCall): { context: CallContext; controller: AbortController } {
  const controller = new AbortController();
  const gone = () => controller.abort(new Fault("cancelled", "the caller went away"));
  if (call.cancelled) gone();
  // "cancelled" fires at the normal end of a stream too; an abort is harmless by then.
  call.on("cancelled", gone);
  return {
    controller,
    context: { signal: controller.signal, metadata: call.metadata, peer: call.getPeer() },
  };
}

function decoded<T>(message: T | Undecodable): T {
  if (message instanceof Undecodable) {
    throw new Fault("invalid_argument", `the message can't be decoded: ${message.reason}`);
  }
  return message;
}

/** Metadata is small: what else is wrong is said when these are mended. */
const maxErrorsSent = 16;

/** A thrown value as the status that travels: code in metadata, no internals. */
export function statusOf(error: unknown, log: Log): Partial<StatusObject> & Error {
  const fault = Fault.from(error);
  if (fault.code === "internal") log.error({ err: fault.cause ?? fault }, "internal error");
  const metadata = new Metadata();
  metadata.set("spear-code", fault.code);
  if (fault.field !== undefined) metadata.set("spear-field", encodeURIComponent(fault.field));
  if (fault.help !== undefined) metadata.set("spear-help", encodeURIComponent(fault.help));
  if (fault.errors.length > 0) {
    const some = JSON.stringify(fault.errors.slice(0, maxErrorsSent));
    metadata.set("spear-errors", encodeURIComponent(some));
  }
  return Object.assign(new Error(fault.message), {
    code: fault.row.grpc,
    details: fault.message,
    metadata,
  });
}

/** Shapes a service's handlers; one per server, so that failures reach its log. */
export class Handlers {
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  unary<Q, R>(handle: (request: Q, context: CallContext) => Promise<R>): handleUnaryCall<Q, R> {
    return (call, callback) => {
      const { context } = contextOf(call);
      Promise.resolve()
        .then(() => handle(decoded(call.request), context))
        .then(
          (response) => callback(null, response),
          (error: unknown) => callback(statusOf(error, this.#log)),
        );
    };
  }

  serverStream<Q, R>(
    handle: (request: Q, context: CallContext) => AsyncIterable<R>,
  ): handleServerStreamingCall<Q, R> {
    return (call) => {
      const { context } = contextOf(call);
      void this.#pump(call, context, () => handle(decoded(call.request), context));
    };
  }

  clientStream<Q, R>(
    handle: (requests: AsyncIterable<Q>, context: CallContext) => Promise<R>,
  ): handleClientStreamingCall<Q, R> {
    return (call, callback) => {
      const { context } = contextOf(call);
      Promise.resolve()
        .then(() => handle(decodedAll<Q>(call), context))
        .then(
          (response) => callback(null, response),
          (error: unknown) => callback(statusOf(error, this.#log)),
        );
    };
  }

  bidi<Q, R>(
    handle: (requests: AsyncIterable<Q>, context: CallContext) => AsyncIterable<R>,
  ): handleBidiStreamingCall<Q, R> {
    return (call) => {
      const { context } = contextOf(call);
      // A broken connection surfaces as an error of the readable side too.
      call.on("error", () => undefined);
      void this.#pump(call, context, () => handle(decodedAll<Q>(call), context));
    };
  }

  /** Writes what the handler yields, never faster than the caller reads. */
  async #pump<R>(
    call: {
      write(message: R): boolean;
      end(): void;
      once(event: "drain", listener: () => void): unknown;
      emit(event: "error", error: unknown): boolean;
    },
    context: CallContext,
    produce: () => AsyncIterable<R>,
  ): Promise<void> {
    try {
      for await (const message of produce()) {
        if (context.signal.aborted) return;
        if (!call.write(message)) await drained(call, context.signal);
      }
      call.end();
    } catch (error) {
      if (!context.signal.aborted) call.emit("error", statusOf(error, this.#log));
    }
  }
}

/** Resolves when more may be written, or the caller went away. */
function drained(
  call: { once(event: "drain", listener: () => void): unknown },
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      signal.removeEventListener("abort", done);
      resolve();
    };
    call.once("drain", done);
    signal.addEventListener("abort", done, { once: true });
  });
}

/** The requests of a call. Reading to their end, or stopping early, leaves the answering side open. */
async function* decodedAll<Q>(call: Readable): AsyncIterable<Q> {
  for await (const message of call.iterator({ destroyOnReturn: false })) {
    yield decoded(message as Q | Undecodable);
  }
}

/** The handler of a call that a later release fills in. */
export function unimplemented(what: string): () => Promise<never> {
  return () => Promise.reject(new Fault("unimplemented", `${what} is not built yet`));
}
