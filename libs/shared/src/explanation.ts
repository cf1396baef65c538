/** Why a task waits or is where it is; mirrors `Explanation` of `spear/sms/v1/task.proto`. */
import { Type, type Static } from "@sinclair/typebox";
import { TaskStateSchema } from "./task.ts";

export const Explanation = Type.Object(
  {
    taskId: Type.String(),
    state: TaskStateSchema,
    summary: Type.String({ description: "One sentence for people." }),
    changes: Type.Array(Type.String(), {
      description: "Each of these would place it now, the smallest first.",
    }),
    nodes: Type.Array(
      Type.Object({
        nodeId: Type.String(),
        name: Type.String(),
        chosen: Type.Boolean({ description: "It has the task, or would get it." }),
        reasons: Type.Array(Type.String(), {
          description: "What speaks against it; empty if the task fits.",
        }),
        score: Type.Record(Type.String(), Type.Integer(), {
          description: "Points by part, where the task fits; the greatest sum is chosen.",
        }),
      }),
      { description: "Every node as it stands now, the best first." },
    ),
  },
  { $id: "Explanation", description: "Why a task waits, or why it is where it is." },
);
export type Explanation = Static<typeof Explanation>;
