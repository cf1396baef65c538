/**
 * The one list of what the protos and the REST interface promise and nothing
 * does yet. Each answers UNIMPLEMENTED, or 501 with a problem document; the
 * contract tests hold the running programs to this list in both directions.
 */
import { Elysia, type AnyElysia } from "elysia";
import { Fault } from "./fault.ts";

/** gRPC methods by their full names. */
export const unimplementedMethods: readonly string[] = [
  "spear.sms.v1.JobService/SubmitJob",
  "spear.sms.v1.JobService/GetJob",
  "spear.sms.v1.JobService/ListJobs",
  "spear.sms.v1.JobService/CancelJob",
  "spear.sms.v1.JobService/WatchJob",
  "spear.sms.v1.JobService/ListJobTasks",
  "spear.sms.v1.JobService/PauseJob",
  "spear.sms.v1.JobService/ResumeJob",
  "spear.sms.v1.JobService/RerunJob",
  "spear.spearlet.v1.ObjectService/GetObject",
  "spear.spearlet.v1.ObjectService/PutObject",
  "spear.spearlet.v1.ObjectService/HeadObject",
  "spear.store.v1.ObjectStore/AddObjectRef",
  "spear.store.v1.ObjectStore/RemoveObjectRef",
  "spear.store.v1.ObjectStore/PinObject",
  "spear.store.v1.ObjectStore/UnpinObject",
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
  sms: [
    route("POST", "/v1/jobs", "submitJob", "Accept a job: all of it or nothing."),
    route("GET", "/v1/jobs", "listJobs", "Jobs, newest first, a page at a time."),
    route("GET", "/v1/jobs/:id", "getJob", "One job."),
    route("POST", "/v1/jobs/:id/cancel", "cancelJob", "Ask every task of a job to end."),
  ],
  store: [
    route("POST", "/v1/objects/:id/refs", "addObjectRef", "Keep an object alive for a holder."),
    route("DELETE", "/v1/objects/:id/refs", "removeObjectRef", "Take a holder's reference away."),
    route("PUT", "/v1/objects/:id/pin", "pinObject", "Keep an object alive until it is unpinned."),
    route("DELETE", "/v1/objects/:id/pin", "unpinObject", "Take the pin away."),
  ],
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
