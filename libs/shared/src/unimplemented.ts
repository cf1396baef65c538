/**
 * The one list of what the protos and the REST interface promise and nothing
 * does yet. Each answers UNIMPLEMENTED, or 501 with a problem document; the
 * contract tests hold the running programs to this list in both directions.
 */
import { Elysia, type AnyElysia } from "elysia";
import { Fault } from "./fault.ts";

/** gRPC methods by their full names. */
export const unimplementedMethods: readonly string[] = [
  "spear.spearlet.v1.ObjectService/GetObject",
  "spear.spearlet.v1.ObjectService/PutObject",
  "spear.spearlet.v1.ObjectService/HeadObject",
];

interface Route {
  method: "DELETE" | "GET" | "POST" | "PUT";
  /** With `:name` for what varies. */
  path: string;
  operationId: string;
  summary: string;
}

const route = (
  method: Route["method"],
  path: string,
  operationId: string,
  summary: string,
): Route => ({ method, path, operationId, summary });

/** REST routes by program. */
export const unimplementedRoutes = {
  sms: [],
  store: [],
} as const satisfies Record<string, readonly Route[]>;

/** Routes of a program that answer 501. */
export function unimplementedApp(program: keyof typeof unimplementedRoutes): AnyElysia {
  const app: AnyElysia = new Elysia();
  for (const { method, path, operationId, summary } of unimplementedRoutes[program]) {
    const later = () => {
      throw new Fault("unimplemented", `${operationId} is not built yet`);
    };
    const responses = { 501: { description: "Not built yet." } };
    app.route(method, path, later, {
      detail: { operationId, summary, tags: ["unimplemented"], responses },
    });
  }
  return app;
}
