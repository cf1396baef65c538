/** Errors of an HTTP server as RFC 9457 problem documents. */
import type { TObject, TSchema } from "@sinclair/typebox";
import { TransformDecodeCheckError, Value } from "@sinclair/typebox/value";
import { ValidationError, type AnyElysia } from "elysia";
import { faultOf } from "../check.ts";
import { Fault } from "../fault.ts";
import type { Log } from "../log.ts";
import { isRedisAway, redisFault } from "../redis/client.ts";

/** What is known of a request when it fails. */
interface FailedRequest {
  request: Request;
  /** Path of its route, as it was declared. */
  route: string;
  query?: unknown;
  params?: unknown;
}

interface Schemas {
  query?: TObject;
  params?: TObject;
}

/**
 * Elysia reads numbers and booleans from strings itself, and says only that one
 * was refused. This finds which, as `query.pageSize`.
 */
function refusedField(failed: FailedRequest, app: AnyElysia): string | undefined {
  const found = app.routes.find(
    ({ method, path }) => path === failed.route && method === failed.request.method,
  );
  const schemas = found?.hooks as Schemas | undefined;
  for (const part of ["params", "query"] as const) {
    const rules = schemas?.[part]?.properties ?? {};
    const values = (failed[part] ?? {}) as Record<string, unknown>;
    const refused = Object.entries(rules).find(([name, rule]) => {
      if (values[name] === undefined) return false;
      try {
        Value.Decode(rule, values[name]);
        return false;
      } catch {
        return true;
      }
    });
    if (refused !== undefined) return `${part}.${refused[0]}`;
  }
  return undefined;
}

/** Whatever a handler or Elysia threw, as a fault. */
export function httpFault(
  code: string | number,
  error: unknown,
  failed: FailedRequest,
  app: AnyElysia,
): Fault {
  if (error instanceof Fault) return error;
  if (error instanceof ValidationError) {
    const { validator, value, type } = error as unknown as {
      validator: TSchema | { schema?: TSchema } | undefined;
      value: unknown;
      type: string;
    };
    if (type === "response") return new Fault("internal", "internal error", { cause: error });
    if (type === "property") {
      return faultOf(validator as TSchema, value, refusedField(failed, app) ?? "");
    }
    const schema = validator?.["schema"] as TSchema | undefined;
    if (schema !== undefined) return faultOf(schema, value, type === "body" ? "" : type);
    return new Fault("invalid_argument", `the ${type} is not valid`, { field: type });
  }
  if (error instanceof TransformDecodeCheckError) {
    return faultOf(error.schema, error.value, refusedField(failed, app) ?? "");
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
