/**
 * Faults: the one error type that crosses a boundary, over one closed table of
 * codes. HTTP status, gRPC status, retryability and title follow from the code.
 */
// Only the numbers: the CLI has faults too, and should not load gRPC for them.
import { Status as grpc } from "@grpc/grpc-js/build/src/constants.js";

interface Row {
  http: number;
  grpc: grpc;
  retryable: boolean;
  title: string;
}

const row = (http: number, status: grpc, title: string, retryable = false): Row => ({
  http,
  grpc: status,
  retryable,
  title,
});

export const faultTable = {
  invalid_argument: row(400, grpc.INVALID_ARGUMENT, "The request is not valid"),
  unauthenticated: row(401, grpc.UNAUTHENTICATED, "A valid token is needed"),
  permission_denied: row(403, grpc.PERMISSION_DENIED, "The token does not allow this"),
  not_found: row(404, grpc.NOT_FOUND, "There is nothing here"),
  task_not_found: row(404, grpc.NOT_FOUND, "There is no such task"),
  job_not_found: row(404, grpc.NOT_FOUND, "There is no such job"),
  schedule_not_found: row(404, grpc.NOT_FOUND, "There is no such schedule"),
  node_not_found: row(404, grpc.NOT_FOUND, "There is no such node"),
  bucket_not_found: row(404, grpc.NOT_FOUND, "There is no such bucket"),
  object_not_found: row(404, grpc.NOT_FOUND, "There is no such object"),
  upload_not_found: row(404, grpc.NOT_FOUND, "There is no such upload"),
  method_not_allowed: row(405, grpc.UNIMPLEMENTED, "The path does not take this method"),
  bucket_exists: row(409, grpc.ALREADY_EXISTS, "The bucket exists already"),
  bucket_not_empty: row(409, grpc.FAILED_PRECONDITION, "The bucket is not empty"),
  conflict: row(409, grpc.ABORTED, "The state does not allow this"),
  stale_incarnation: row(409, grpc.FAILED_PRECONDITION, "A newer run of the node has registered"),
  stale_attempt: row(409, grpc.FAILED_PRECONDITION, "A newer attempt exists"),
  events_trimmed: row(410, grpc.OUT_OF_RANGE, "Events before this point were trimmed"),
  precondition_failed: row(412, grpc.FAILED_PRECONDITION, "A condition does not hold"),
  payload_too_large: row(413, grpc.RESOURCE_EXHAUSTED, "The request is too large"),
  range_not_satisfiable: row(416, grpc.OUT_OF_RANGE, "The range lies outside the object"),
  checksum_mismatch: row(422, grpc.DATA_LOSS, "The bytes do not match their checksum"),
  too_many_requests: row(429, grpc.RESOURCE_EXHAUSTED, "Too much at once", true),
  cancelled: row(499, grpc.CANCELLED, "The caller went away"),
  internal: row(500, grpc.INTERNAL, "Something went wrong inside"),
  object_corrupted: row(500, grpc.DATA_LOSS, "Stored bytes are damaged"),
  unimplemented: row(501, grpc.UNIMPLEMENTED, "This is not built yet"),
  unavailable: row(503, grpc.UNAVAILABLE, "A part that is needed does not answer", true),
  logs_unavailable: row(503, grpc.UNAVAILABLE, "The node that has the output is away", true),
  timeout: row(504, grpc.DEADLINE_EXCEEDED, "It took too long", true),
  quota_exceeded: row(507, grpc.RESOURCE_EXHAUSTED, "The bucket's quota is reached"),
  store_full: row(507, grpc.RESOURCE_EXHAUSTED, "The store has no room left"),
} as const satisfies Record<string, Row>;

export type FaultCode = keyof typeof faultTable;

/** One of several things that are wrong with a request. */
export interface FieldError {
  field: string;
  message: string;
}

/** Things that are wrong which one fault names at most. */
export const maxFieldErrors = 100;

export interface FaultDetail {
  /** Path of the field at fault, as `spec.resources.cpu`. */
  field?: string;
  /** What the caller can do. */
  help?: string;
  /** All that is wrong, if that is more than `field`. */
  errors?: readonly FieldError[];
  /** What lies beneath; logged, never sent. */
  cause?: unknown;
}

/** RFC 9457 problem details with SPEAR's members. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: string;
  retryable: boolean;
  field?: string;
  help?: string;
  errors?: readonly FieldError[];
}

export class Fault extends Error {
  readonly code: FaultCode;
  readonly field: string | undefined;
  readonly help: string | undefined;
  readonly errors: readonly FieldError[];

  constructor(code: FaultCode, message: string, detail: FaultDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.name = "Fault";
    this.code = code;
    this.field = detail.field;
    this.help = detail.help;
    this.errors = detail.errors ?? [];
  }

  get row(): Row {
    return faultTable[this.code];
  }

  toProblem(): Problem {
    return {
      type: `urn:spear:error:${this.code}`,
      title: this.row.title,
      status: this.row.http,
      detail: this.message,
      code: this.code,
      retryable: this.row.retryable,
      ...(this.field === undefined ? {} : { field: this.field }),
      ...(this.help === undefined ? {} : { help: this.help }),
      ...(this.errors.length === 0 ? {} : { errors: this.errors }),
    };
  }

  /** The fault that a problem document stands for; unknown codes become `internal`. */
  static fromProblem(problem: Partial<Problem>): Fault {
    return new Fault(
      isFaultCode(problem.code) ? problem.code : "internal",
      problem.detail ?? problem.title ?? "unknown error",
      {
        ...(problem.field === undefined ? {} : { field: problem.field }),
        ...(problem.help === undefined ? {} : { help: problem.help }),
        ...(problem.errors === undefined ? {} : { errors: problem.errors }),
      },
    );
  }

  /** Any thrown value as a fault; what is not one becomes `internal` and keeps its cause. */
  static from(error: unknown): Fault {
    if (error instanceof Fault) return error;
    return new Fault("internal", "internal error", { cause: error });
  }
}

export function isFaultCode(code: unknown): code is FaultCode {
  return typeof code === "string" && Object.hasOwn(faultTable, code);
}

/** What went wrong, for people: one line, then what can be done. */
export function faultLines(fault: Fault): string {
  return `error: ${fault.message}\n${fault.help === undefined ? "" : `  ${fault.help}\n`}`;
}
