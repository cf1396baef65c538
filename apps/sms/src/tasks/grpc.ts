/** TaskService: parses, calls, encodes. */
import { taskStateFromProto, taskStateToProto } from "@spear/proto/enums.ts";
import { LogChunk } from "@spear/proto/gen/spear/common/v1/task.ts";
import { TaskServiceService, type TaskServiceServer } from "@spear/proto/gen/spear/sms/v1/task.ts";
import { Fault } from "@spear/shared/fault.ts";
import type { GrpcService, Handlers } from "@spear/shared/grpc/handlers.ts";
import { parseId } from "@spear/shared/ids.ts";
import { type Event, runtimes } from "@spear/shared/task.ts";
import type { EventLog } from "../events/events.ts";
import type { Explainer } from "../scheduler/explain.ts";
import type { Audits } from "./audits.ts";
import type { TaskLogs } from "./logs.ts";
import type { Tasks } from "./tasks.ts";
import { eventToProto, specFromProto, taskToProto } from "./wire.ts";

export interface TaskGrpcDeps {
  tasks: Tasks;
  explainer: Explainer;
  logs: TaskLogs;
  audits: Audits;
  events: EventLog;
}

const optional = <K extends string>(key: K, value: string) =>
  (value === "" ? {} : { [key]: value }) as { [P in K]?: string };

/** 0 means the default. Throws `invalid_argument` outside 1–1,000. */
export function pageSizeOf(value: number): number {
  if (value === 0) return 100;
  if (value >= 1 && value <= 1_000) return value;
  throw new Fault("invalid_argument", "pageSize: must be 1 to 1,000", { field: "pageSize" });
}

/** "" means any. Throws `invalid_argument` for what is no runtime. */
function checkedRuntime(value: string): string {
  if (value === "" || runtimes.some((runtime) => runtime === value)) return value;
  throw new Fault("invalid_argument", `runtime: must be one of ${runtimes.join(", ")}`, {
    field: "runtime",
  });
}

/** "stdout", "stderr" or "" for both. */
export function streamOf(value: string): string {
  if (["", "stdout", "stderr"].includes(value)) return value;
  throw new Fault("invalid_argument", "stream: must be stdout or stderr", { field: "stream" });
}

export function taskService(
  handlers: Handlers,
  { tasks, explainer, logs, audits, events }: TaskGrpcDeps,
): GrpcService {
  const implementation: TaskServiceServer = {
    submitTask: handlers.unary(async ({ spec, idempotencyKey, parent, taskId = "" }) =>
      taskToProto(
        await tasks.submit(
          specFromProto(spec),
          idempotencyKey === "" ? undefined : idempotencyKey,
          parent && { ...parent, taskId: parseId("task", parent.taskId, "parent.taskId") },
          taskId === "" ? undefined : parseId("task", taskId, "taskId"),
        ),
      ),
    ),
    auditTask: handlers.unary(({ taskId }) => audits.read(parseId("task", taskId, "taskId"))),
    submitTasks: handlers.unary(async ({ specs }) => ({
      taskIds: await tasks.submitMany(specs.map(specFromProto)),
    })),
    getTask: handlers.unary(async ({ taskId }) =>
      taskToProto(await tasks.get(parseId("task", taskId, "taskId"))),
    ),
    listTasks: handlers.unary(async (request) => {
      const { tasks: page, nextPageToken } = await tasks.list({
        states: request.states.map((state, index) => taskStateFromProto(state, `states.${index}`)),
        labels: request.labels,
        pageSize: pageSizeOf(request.pageSize),
        ...(request.nodeId === "" ? {} : { nodeId: parseId("node", request.nodeId, "nodeId") }),
        ...optional("runtime", checkedRuntime(request.runtime)),
        ...optional("name", request.name),
        ...optional("pageToken", request.pageToken),
      });
      return { tasks: page.map(taskToProto), nextPageToken: nextPageToken ?? "" };
    }),
    cancelTask: handlers.unary(async ({ taskId }) =>
      taskToProto(await tasks.cancel(parseId("task", taskId, "taskId"))),
    ),
    explainTask: handlers.unary(async ({ taskId }) => {
      const explanation = await explainer.explain(parseId("task", taskId, "taskId"));
      return { ...explanation, state: taskStateToProto(explanation.state) };
    }),
    watchTasks: handlers.serverStream(async function* ({ taskId, afterSeq, states }, { signal }) {
      if (taskId !== "") await tasks.get(parseId("task", taskId, "taskId"));
      const into = new Set<string>(
        states.map((state, index) => taskStateFromProto(state, `states.${index}`)),
      );
      const wanted = (event: Event) =>
        (taskId === "" ? event.taskId !== undefined : event.taskId === taskId) &&
        (into.size === 0 || (event.kind === "task.state" && into.has(event.to)));
      for await (const event of events.follow(afterSeq, wanted, signal)) yield eventToProto(event);
    }),
    readLogs: handlers.serverStream(async function* (request, { signal }) {
      const frames = logs.read(
        {
          id: parseId("task", request.taskId, "taskId"),
          stream: streamOf(request.stream),
          follow: request.follow,
          tailBytes: request.tailBytes,
          attempt: request.attempt,
        },
        signal,
      );
      for await (const frame of frames) {
        yield !("stream" in frame)
          ? LogChunk.fromPartial({ stream: "system", end: taskToProto(frame.end) })
          : frame;
      }
    }),
  };
  return { definition: TaskServiceService, handlers: { ...implementation } };
}
