/** gRPC clients: promises and async iterables over ts-proto's classes, errors as faults. */
import { Metadata, status } from "@grpc/grpc-js";
import type {
  CallOptions,
  ClientReadableStream,
  ClientUnaryCall,
  ServiceError,
} from "@grpc/grpc-js";
import { Fault, type FieldError, isFaultCode, type FaultCode } from "../fault.ts";

const byStatus: Partial<Record<status, FaultCode>> = {
  [status.UNAVAILABLE]: "unavailable",
  [status.DEADLINE_EXCEEDED]: "timeout",
  [status.CANCELLED]: "cancelled",
  [status.UNIMPLEMENTED]: "unimplemented",
  [status.INVALID_ARGUMENT]: "invalid_argument",
  [status.NOT_FOUND]: "not_found",
  [status.RESOURCE_EXHAUSTED]: "too_many_requests",
  [status.UNAUTHENTICATED]: "unauthenticated",
  [status.PERMISSION_DENIED]: "permission_denied",
};

function text(metadata: Metadata | undefined, name: string): string | undefined {
  const value = metadata?.get(name)[0];
  return typeof value === "string" ? value : undefined;
}

/** An error of a call as the fault that the server threw. */
export function grpcFault(error: unknown): Fault {
  if (error instanceof Fault) return error;
  const { code, details, metadata } = error as Partial<ServiceError>;
  if (code === undefined) return Fault.from(error);
  const named = text(metadata, "spear-code");
  const field = text(metadata, "spear-field");
  const help = text(metadata, "spear-help");
  const errors = text(metadata, "spear-errors");
  return new Fault(
    isFaultCode(named) ? named : (byStatus[code] ?? "internal"),
    details ?? "the call failed",
    {
      ...(field === undefined ? {} : { field: decodeURIComponent(field) }),
      ...(help === undefined ? {} : { help: decodeURIComponent(help) }),
      ...(errors === undefined
        ? {}
        : { errors: JSON.parse(decodeURIComponent(errors)) as FieldError[] }),
      cause: error,
    },
  );
}

type UnaryMethod<Q, R> = (
  request: Q,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: R) => void,
) => ClientUnaryCall;

export interface CallSettings {
  /** Gives up after this long. Default 5,000. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

/** Calls a unary method: `unary(client, client.getTask, request)`. Rejects with a `Fault`. */
export function unary<Q, R>(
  client: object,
  method: UnaryMethod<Q, R>,
  request: Q,
  { timeoutMs = 5_000, signal }: CallSettings = {},
): Promise<R> {
  return new Promise((resolve, reject) => {
    const call = method.call(
      client,
      request,
      new Metadata(),
      { deadline: Date.now() + timeoutMs },
      (error, response) => {
        signal?.removeEventListener("abort", onAbort);
        if (error === null) resolve(response);
        else reject(grpcFault(error));
      },
    );
    const onAbort = () => call.cancel();
    signal?.addEventListener("abort", onAbort, { once: true });
    if (signal?.aborted) onAbort();
  });
}

/** The messages of a server stream; leaving the loop cancels the call. */
export async function* messages<R>(
  stream: ClientReadableStream<R>,
  signal?: AbortSignal,
): AsyncGenerator<R> {
  const onAbort = () => stream.cancel();
  signal?.addEventListener("abort", onAbort, { once: true });
  if (signal?.aborted) onAbort();
  try {
    for await (const message of stream) yield message as R;
  } catch (error) {
    throw grpcFault(error);
  } finally {
    signal?.removeEventListener("abort", onAbort);
    stream.on("error", () => undefined);
    stream.cancel();
  }
}
