/** The nouns of the node's own API as schemas; they mirror `spear/spearlet/v1/spearlet.proto`. */
import { Type, type Static, type TSchema } from "@sinclair/typebox";
import { Failure, runtimes, TaskStateSchema } from "@spear/shared/task.ts";

export const phases = [
  "claiming",
  "staging",
  "running",
  "stopping",
  "collecting",
  "ended",
] as const;
export type Phase = (typeof phases)[number];

const oneOf = <T extends string>(values: readonly T[], description: string) =>
  Type.Union(
    values.map((value) => Type.Literal(value)),
    { description },
  ) as unknown as TSchema & { static: T };

/** An attempt as its node sees it. */
export const Execution = Type.Object(
  {
    taskId: Type.String({ description: "task_…" }),
    attempt: Type.Integer({ description: "The fencing token." }),
    runtime: oneOf(runtimes, "Runtime."),
    phase: oneOf(phases, "Phase on the node."),
    pid: Type.Optional(Type.Integer({ description: "Process id, where there is one." })),
    acceptedAtMs: Type.Integer(),
    startedAtMs: Type.Optional(Type.Integer()),
    endedAtMs: Type.Optional(Type.Integer()),
    state: Type.Optional(TaskStateSchema),
    exitCode: Type.Optional(Type.Integer()),
    signal: Type.Optional(Type.String()),
    failure: Type.Optional(Failure),
  },
  { $id: "Execution", description: "An attempt as its node sees it." },
);
export type Execution = Static<typeof Execution>;
