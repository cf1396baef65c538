/** Tasks over REST: parses, calls, encodes. */
import { Fault } from "@spear/shared/fault.ts";
import { parseId } from "@spear/shared/ids.ts";
import { outputResponses } from "@spear/shared/http/openapi.ts";
import type { Log } from "@spear/shared/log.ts";
import { Audit, HostcallUse } from "@spear/shared/audit.ts";
import { Explanation } from "@spear/shared/explanation.ts";
import { Event, runtimes, Task, TaskSpec, TaskStateSchema } from "@spear/shared/task.ts";
import { Elysia, t } from "elysia";
import type { Explainer } from "../scheduler/explain.ts";
import type { Audits } from "./audits.ts";
import type { LogFrame, TaskLogs } from "./logs.ts";
import { streamOf } from "./grpc.ts";
import { maxBulk, type Tasks } from "./tasks.ts";

export interface TaskHttpDeps {
  tasks: Tasks;
  explainer: Explainer;
  logs: TaskLogs;
  audits: Audits;
  log: Log;
}

const closed = { additionalProperties: false } as const;
const tags = ["tasks"];
const keepAliveMs = 5_000;

/** Labels as given: `label=zone=eu`, any number of times. */
export function labelsOf(values: readonly string[] | undefined): Record<string, string> {
  return Object.fromEntries(
    (values ?? []).map((text) => {
      const at = text.indexOf("=");
      if (at < 1)
        throw new Fault("invalid_argument", `label: "${text}" is not name=value`, {
          field: "label",
        });
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

/** A frame of the log stream as one line of JSON; see getTaskLogs. */
function lineOf(frame: LogFrame): string {
  if ("stream" in frame) {
    const { stream, data, attempt, offset } = frame;
    return `${JSON.stringify({ stream, data: Buffer.from(data).toString("base64"), attempt, offset })}\n`;
  }
  return `${JSON.stringify(frame)}\n`;
}

/** Chunks as a response body, with blank lines while nothing comes. */
function bodyOf(
  chunks: AsyncGenerator<LogFrame>,
  raw: boolean,
  abort: AbortController,
  log: Log,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let keepAlive: ReturnType<typeof setInterval> | undefined;
  return new ReadableStream<Uint8Array>({
    start(controller) {
      if (raw) return;
      keepAlive = setInterval(() => controller.enqueue(encoder.encode("\n")), keepAliveMs);
    },
    async pull(controller) {
      try {
        for (;;) {
          const next = await chunks.next();
          if (next.done === true) {
            clearInterval(keepAlive);
            controller.close();
            return;
          }
          if (!raw) controller.enqueue(encoder.encode(lineOf(next.value)));
          else if ("stream" in next.value) controller.enqueue(next.value.data);
          else continue;
          return;
        }
      } catch (error) {
        clearInterval(keepAlive);
        const fault = Fault.from(error);
        if (fault.code === "internal")
          log.error({ err: fault.cause ?? fault }, "reading output failed");
        if (!raw)
          controller.enqueue(encoder.encode(`${JSON.stringify({ error: fault.toProblem() })}\n`));
        controller.close();
      }
    },
    async cancel() {
      clearInterval(keepAlive);
      abort.abort(new Fault("cancelled", "the caller went away"));
      await chunks.return(undefined);
    },
  });
}

const taskId = t.Object({ id: t.String({ description: "task_…" }) });
const flag = (description: string) =>
  t.Optional(t.Union([t.Literal("true"), t.Literal("false")], { description }));

export function taskRoutes({ tasks, explainer, logs, audits, log }: TaskHttpDeps) {
  return new Elysia()
    .model({ TaskSpec, Task, Event, Explanation, HostcallUse, Audit })
    .post(
      "/v1/tasks",
      async ({ body, set }) => {
        const { spec, idempotencyKey } = body as { spec: unknown; idempotencyKey?: string };
        const task = await tasks.submit(spec, idempotencyKey);
        set.status = 201;
        return task;
      },
      {
        body: t.Object(
          {
            spec: t.Ref(TaskSpec),
            idempotencyKey: t.Optional(
              t.String({
                description: "The same key returns the same task, also under concurrent submits.",
              }),
            ),
          },
          closed,
        ),
        response: { 201: t.Ref(Task) },
        detail: {
          operationId: "submitTask",
          summary: "Accept a task; once answered it is not lost.",
          tags,
        },
      },
    )
    .post(
      "/v1/tasks:batch",
      async ({ body, set }) => {
        const { specs } = body as { specs: unknown[] };
        set.status = 201;
        return { taskIds: await tasks.submitMany(specs) };
      },
      {
        body: t.Object(
          { specs: t.Array(t.Ref(TaskSpec), { minItems: 1, maxItems: maxBulk }) },
          closed,
        ),
        response: { 201: t.Object({ taskIds: t.Array(t.String()) }) },
        detail: {
          operationId: "submitTasks",
          summary: "Accept many tasks; all are checked before any is stored.",
          tags,
        },
      },
    )
    .get(
      "/v1/tasks",
      ({ query }) =>
        tasks.list({
          states: query.state ?? [],
          labels: labelsOf(query.label),
          pageSize: query.pageSize ?? 100,
          ...(query.nodeId === undefined
            ? {}
            : { nodeId: parseId("node", query.nodeId, "nodeId") }),
          ...(query.runtime === undefined ? {} : { runtime: query.runtime }),
          ...(query.name === undefined ? {} : { name: query.name }),
          ...(query.pageToken === undefined ? {} : { pageToken: query.pageToken }),
        }),
      {
        query: t.Object(
          {
            state: t.Optional(t.Array(TaskStateSchema, { description: "Only these states." })),
            nodeId: t.Optional(t.String({ description: "Only tasks on this node." })),
            runtime: t.Optional(t.Union(runtimes.map((runtime) => t.Literal(runtime)))),
            name: t.Optional(t.String()),
            label: t.Optional(t.Array(t.String(), { description: "name=value; all must match." })),
            pageSize: t.Optional(
              t.Integer({ minimum: 1, maximum: 1_000, description: "Default 100." }),
            ),
            pageToken: t.Optional(t.String({ description: "nextPageToken of the page before." })),
          },
          closed,
        ),
        response: t.Object({ tasks: t.Array(t.Ref(Task)), nextPageToken: t.Optional(t.String()) }),
        detail: {
          operationId: "listTasks",
          summary: "Tasks, newest first, a page at a time.",
          tags,
        },
      },
    )
    .get("/v1/tasks/:id", ({ params }) => tasks.get(parseId("task", params.id, "id")), {
      params: taskId,
      response: t.Ref(Task),
      detail: { operationId: "getTask", summary: "One task.", tags },
    })
    .post("/v1/tasks/:id/cancel", ({ params }) => tasks.cancel(parseId("task", params.id, "id")), {
      params: taskId,
      response: t.Ref(Task),
      detail: {
        operationId: "cancelTask",
        summary: "Ask a task to end; also fine for one that has ended.",
        tags,
      },
    })
    .get(
      "/v1/tasks/:id/history",
      async ({ params }) => ({ events: await tasks.events(parseId("task", params.id, "id")) }),
      {
        params: taskId,
        response: t.Object({ events: t.Array(t.Ref(Event)) }),
        detail: {
          operationId: "getTaskHistory",
          summary: "All events of a task, oldest first.",
          tags,
        },
      },
    )
    .get("/v1/tasks/:id/why", ({ params }) => explainer.explain(parseId("task", params.id, "id")), {
      params: taskId,
      response: t.Ref(Explanation),
      detail: {
        operationId: "explainTask",
        summary: "Why a task waits and what would place it now; for a placed one, why there.",
        tags,
      },
    })
    .get("/v1/tasks/:id/audit", ({ params }) => audits.read(parseId("task", params.id, "id")), {
      params: taskId,
      response: t.Ref(Audit),
      detail: {
        operationId: "auditTask",
        summary:
          "What a task asked of its nodes by hostcalls, and the smallest grants that would have done.",
        tags,
      },
    })
    .get(
      "/v1/tasks/:id/logs",
      async ({ params, query, request }) => {
        const id = parseId("task", params.id, "id");
        await tasks.get(id);
        const stream = streamOf(query.stream ?? "");
        const raw =
          stream !== "" &&
          (request.headers.get("accept") ?? "").includes("application/octet-stream");
        const abort = new AbortController();
        request.signal.addEventListener("abort", () => abort.abort(), { once: true });
        const chunks = logs.read(
          {
            id,
            stream,
            follow: query.follow === "true",
            tailBytes: query.tail,
            attempt: query.attempt ?? 0,
          },
          abort.signal,
        );
        return new Response(bodyOf(chunks, raw, abort, log), {
          headers: { "content-type": raw ? "application/octet-stream" : "application/x-ndjson" },
        });
      },
      {
        params: taskId,
        query: t.Object(
          {
            stream: t.Optional(t.String({ description: "stdout or stderr; default both." })),
            follow: flag("Go on until the task ends, across attempts."),
            tail: t.Optional(
              t.Integer({ minimum: 0, description: "Only this many last bytes first." }),
            ),
            attempt: t.Optional(
              t.Integer({ minimum: 0, description: "Default: the current or last." }),
            ),
          },
          closed,
        ),
        detail: {
          operationId: "getTaskLogs",
          summary:
            "Output as JSON lines {stream, data (base64), attempt, offset}, at last {end: Task}; blank lines keep the " +
            "connection alive. One stream with Accept: application/octet-stream comes as raw bytes.",
          tags,
          responses: outputResponses,
        },
      },
    );
}
