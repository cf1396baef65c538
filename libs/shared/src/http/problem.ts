/** Errors of an HTTP server as RFC 9457 problem documents. */
import type { TSchema } from "@sinclair/typebox";
import { ValidationError } from "elysia";
import { faultOf } from "../check.ts";
import { Fault } from "../fault.ts";
import type { Log } from "../log.ts";
import { isRedisAway, redisFault } from "../redis/client.ts";

/** Whatever a handler or Elysia threw, as a fault. */
export function httpFault(code: string | number, error: unknown): Fault {
  if (error instanceof Fault) return error;
  if (error instanceof ValidationError) {
    const { validator, value, type } = error as unknown as {
      validator: { schema?: TSchema } | undefined;
      value: unknown;
      type: string;
    };
    if (type === "response") return new Fault("internal", "internal error", { cause: error });
    const schema = validator?.schema;
    if (schema !== undefined) return faultOf(schema, value, type === "body" ? "" : type);
    return new Fault("invalid_argument", `the ${type} is not valid`, { field: type });
  }
  if (code === "NOT_FOUND") {
    return new Fault("not_found", "no such path", { help: "see /docs for what there is" });
  }
  if (code === "PARSE") {
    return new Fault("invalid_argument", "the body is not valid JSON", {
      field: "body",
      cause: error,
    });
  }
  if (isRedisAway(error)) return redisFault(error);
  return Fault.from(error);
}

/** The response for a fault; what is internal is logged here, once. */
export function problemResponse(fault: Fault, log: Log): Response {
  if (fault.code === "internal") log.error({ err: fault.cause ?? fault }, "internal error");
  const problem = fault.toProblem();
  return new Response(JSON.stringify(problem), {
    status: problem.status,
    headers: { "content-type": "application/problem+json" },
  });
}
