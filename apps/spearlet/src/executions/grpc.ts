/** The node's TaskService over gRPC: parses, calls, encodes. */
import {
  TaskServiceService,
  type TaskServiceServer,
} from "@spear/proto/gen/spear/spearlet/v1/spearlet.ts";
import type { GrpcService, Handlers } from "@spear/shared/grpc/handlers.ts";
import { parseId } from "@spear/shared/ids.ts";
import type { Executions } from "./executions.ts";
import { parseStream } from "./logs.ts";
import type { LocalSubmits } from "./submit.ts";
import { executionToProto, specFromProto } from "./wire.ts";

export function taskService(
  handlers: Handlers,
  { executions, submits }: { executions: Executions; submits: LocalSubmits },
): GrpcService {
  const find = (taskId: string) => executions.find(parseId("task", taskId, "taskId"));
  const implementation: TaskServiceServer = {
    submitTask: handlers.unary(({ spec, idempotencyKey }) =>
      submits.submit(specFromProto(spec), idempotencyKey),
    ),
    getTask: handlers.unary(async ({ taskId }) => executionToProto(find(taskId).view())),
    terminateTask: handlers.unary(async ({ taskId }) => {
      const execution = find(taskId);
      execution.stop("cancelled");
      return executionToProto(execution.view());
    }),
    watchTask: handlers.serverStream(async function* ({ taskId }, { signal }) {
      for await (const view of executions.watch(find(taskId), signal)) {
        yield executionToProto(view);
      }
    }),
    readLogs: handlers.serverStream(
      ({ taskId, attempt, stream, follow, tailBytes }, { signal }) => {
        const query = { stream: parseStream(stream), follow, tailBytes };
        const id = executions.attemptOf(parseId("task", taskId, "taskId"), attempt);
        return executions.readLogs(id, query, signal);
      },
    ),
  };
  return { definition: TaskServiceService, handlers: implementation };
}
