/** The node's tasks over REST: parses, calls, encodes. */
import type { LogChunk } from "@spear/proto/gen/spear/common/v1/task.ts";
import { Fault } from "@spear/shared/fault.ts";
import { parseId } from "@spear/shared/ids.ts";
import { outputResponses } from "@spear/shared/http/openapi.ts";
import type { Log } from "@spear/shared/log.ts";
import { Task, TaskSpec } from "@spear/shared/task.ts";
import { Elysia, t } from "elysia";
import type { Executions } from "./executions.ts";
import type { Execution as Attempt } from "./execution.ts";
import { parseStream } from "./logs.ts";
import { Execution } from "./schema.ts";
import type { LocalSubmits } from "./submit.ts";
import { taskFromProto } from "./wire.ts";

const closed = { additionalProperties: false } as const;
const tags = ["tasks"];
const keepAliveMs = 5_000;
const taskId = t.Object({ id: t.String({ description: "task_…" }) });

export interface TaskHttpDeps {
  executions: Executions;
  submits: LocalSubmits;
  log: Log;
}

const line = (value: unknown) => `${JSON.stringify(value)}\n`;

function frameOf({ stream, data, attempt, offset }: LogChunk): string {
  return line({ stream, data: Buffer.from(data).toString("base64"), attempt, offset });
}

/** Output as a response body; with `raw` nothing but the bytes. */
function bodyOf(
  chunks: AsyncGenerator<LogChunk>,
  execution: Attempt,
  raw: boolean,
  gone: AbortController,
  log: Log,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let keepAlive: NodeJS.Timeout | undefined;
  return new ReadableStream<Uint8Array>({
    start(controller) {
      if (!raw)
        keepAlive = setInterval(() => controller.enqueue(encoder.encode("\n")), keepAliveMs);
    },
    async pull(controller) {
      let last: string;
      try {
        const next = await chunks.next();
        if (next.done !== true) {
          controller.enqueue(raw ? next.value.data : encoder.encode(frameOf(next.value)));
          return;
        }
        last = line({ end: execution.view() });
      } catch (error) {
        const fault = Fault.from(error);
        if (fault.code === "internal") log.error({ err: fault.cause }, "reading output failed");
        last = line({ error: fault.toProblem() });
      }
      clearInterval(keepAlive);
      if (!raw) controller.enqueue(encoder.encode(last));
      controller.close();
    },
    async cancel() {
      clearInterval(keepAlive);
      gone.abort();
      await chunks.return(undefined);
    },
  });
}

export function taskRoutes({ executions, submits, log }: TaskHttpDeps) {
  return new Elysia()
    .model({ TaskSpec, Task, Execution })
    .get("/v1/executions", () => ({ executions: executions.list() }), {
      response: t.Object({ executions: t.Array(t.Ref(Execution)) }),
      detail: {
        operationId: "listExecutions",
        summary: "Attempts that the node holds or lately held, newest first.",
        tags,
      },
    })
    .post(
      "/v1/tasks",
      async ({ body, set }) => {
        const { spec, idempotencyKey = "" } = body as { spec: unknown; idempotencyKey?: string };
        const task = taskFromProto(await submits.submit(spec, idempotencyKey));
        set.status = 201;
        return task;
      },
      {
        body: t.Object(
          {
            spec: t.Ref(TaskSpec),
            idempotencyKey: t.Optional(
              t.String({ description: "The same key returns the same task." }),
            ),
          },
          closed,
        ),
        response: { 201: t.Ref(Task) },
        detail: {
          operationId: "submitTask",
          summary: "Submit a task that runs on this node; SMS accepts it.",
          tags,
        },
      },
    )
    .get(
      "/v1/tasks/:id",
      ({ params }) => executions.find(parseId("task", params.id, "id")).view(),
      {
        params: taskId,
        response: t.Ref(Execution),
        detail: { operationId: "getTask", summary: "The newest attempt of a task here.", tags },
      },
    )
    .post(
      "/v1/tasks/:id/terminate",
      ({ params }) => {
        const execution = executions.find(parseId("task", params.id, "id"));
        execution.stop("cancelled");
        return execution.view();
      },
      {
        params: taskId,
        response: t.Ref(Execution),
        detail: {
          operationId: "terminateTask",
          summary: "End an attempt here: SIGTERM, grace, SIGKILL. The task counts as cancelled.",
          tags,
        },
      },
    )
    .get(
      "/v1/tasks/:id/logs",
      ({ params, query, request }) => {
        const execution = executions.find(parseId("task", params.id, "id"), query.attempt);
        const stream = parseStream(query.stream ?? "");
        const accepts = request.headers.get("accept") ?? "";
        const raw = stream !== undefined && accepts.includes("application/octet-stream");
        const gone = new AbortController();
        request.signal.addEventListener("abort", () => gone.abort(), { once: true });
        const logQuery = { stream, follow: query.follow === "true", tailBytes: query.tail };
        const chunks = executions.readLogs(execution.id, logQuery, gone.signal);
        return new Response(bodyOf(chunks, execution, raw, gone, log), {
          headers: { "content-type": raw ? "application/octet-stream" : "application/x-ndjson" },
        });
      },
      {
        params: taskId,
        query: t.Object(
          {
            stream: t.Optional(t.String({ description: "stdout, stderr or system; default all." })),
            follow: t.Optional(
              t.Union([t.Literal("true"), t.Literal("false")], {
                description: "Go on until the attempt ends.",
              }),
            ),
            tail: t.Optional(
              t.Integer({ minimum: 0, description: "Only this many last bytes first." }),
            ),
            attempt: t.Optional(
              t.Integer({ minimum: 0, description: "Default: the last one here." }),
            ),
          },
          closed,
        ),
        detail: {
          operationId: "getTaskLogs",
          summary:
            "Output as JSON lines {stream, data (base64), attempt, offset}, at last {end: Execution}; blank lines " +
            "keep the connection alive. One stream with Accept: application/octet-stream comes as raw bytes.",
          tags,
          responses: outputResponses,
        },
      },
    );
}
