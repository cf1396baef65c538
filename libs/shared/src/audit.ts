/** What a task asked of its nodes by hostcalls; mirrors `spear/sms/v1/task.proto`. */
import { Type, type Static } from "@sinclair/typebox";

export const HostcallUse = Type.Object(
  {
    right: Type.String({ description: "As object.read; the part of a grant before its colon." }),
    target: Type.String({ description: "On what; empty where there is nothing to name." }),
    grant: Type.String({ description: "Grant that allowed it; empty if none did." }),
    calls: Type.Integer({ description: "How often it was allowed." }),
    bytes: Type.Integer({ description: "Bytes that went in or out." }),
    refused: Type.Integer({ description: "How often it was refused." }),
    firstAtMs: Type.Integer(),
    lastAtMs: Type.Integer(),
  },
  { $id: "HostcallUse", description: "What an attempt asked under one right, on one thing." },
);
export type HostcallUse = Static<typeof HostcallUse>;

export const Audit = Type.Object(
  {
    taskId: Type.String(),
    granted: Type.Array(Type.String(), { description: "What its spec grants." }),
    proposal: Type.Array(Type.String(), {
      description: "The smallest grants that would have done for what was allowed.",
    }),
    missing: Type.Array(Type.String(), {
      description: "Grants for what was refused, to be added if it was meant.",
    }),
    attempts: Type.Array(
      Type.Object({ attempt: Type.Integer(), uses: Type.Array(Type.Ref(HostcallUse)) }),
      { description: "Its attempts that asked for something, the oldest first." },
    ),
  },
  { $id: "Audit", description: "What a task asked of its nodes by hostcalls." },
);
export type Audit = Omit<Static<typeof Audit>, "attempts"> & {
  attempts: { attempt: number; uses: HostcallUse[] }[];
};
