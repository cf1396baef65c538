/** The nouns of a node as schemas; they mirror `spear/common/v1/node.proto`. */
import { Type, type Static, type TSchema } from "@sinclair/typebox";

export const nodeStates = ["ready", "draining", "down", "left"] as const;
export type NodeState = (typeof nodeStates)[number];

export const NodeStateSchema = Type.Union(
  nodeStates.map((state) => Type.Literal(state)),
  { errorMessage: `must be one of ${nodeStates.join(", ")}` },
) as unknown as TSchema & { static: NodeState };

export const Capacity = Type.Object({
  cpu: Type.Number({ minimum: 0, maximum: 4096, description: "CPU cores." }),
  memoryBytes: Type.Integer({ minimum: 0, maximum: 2 ** 50 }),
  slots: Type.Integer({ minimum: 0, maximum: 100_000, description: "Most attempts at once." }),
  extras: Type.Record(Type.String(), Type.Integer({ minimum: 0 })),
});
export type Capacity = Static<typeof Capacity>;

export const NodeUsage = Type.Object({
  cpu: Type.Number({ description: "CPU cores busy since the last heartbeat." }),
  memoryBytes: Type.Integer(),
  running: Type.Integer(),
  diskFreeBytes: Type.Integer(),
  load1: Type.Number(),
  cached: Type.Optional(
    Type.Object({
      names: Type.Array(Type.String(), {
        description: "Objects, images and modules that need not be fetched, last used first.",
      }),
    }),
  ),
});
export type NodeUsage = Static<typeof NodeUsage>;

export const NodeFacts = Type.Object({
  hostname: Type.String(),
  os: Type.String({ description: "As linux." }),
  arch: Type.String(),
  version: Type.String(),
  pid: Type.Integer(),
  killMethod: Type.String({ description: "cgroup2, cgroup1 or process-tree." }),
  kernel: Type.Optional(Type.String({ description: "Release of the kernel." })),
  distribution: Type.Optional(Type.String({ description: "As Debian GNU/Linux 12 (bookworm)." })),
  cpuModel: Type.Optional(Type.String()),
  cpus: Type.Optional(Type.Integer({ description: "CPUs of the machine, offered or not." })),
  memoryBytes: Type.Optional(Type.Integer({ description: "Memory of the machine." })),
  diskBytes: Type.Optional(
    Type.Integer({ description: "Size of the disk that holds its data directory." }),
  ),
});
export type NodeFacts = Static<typeof NodeFacts>;

/** What a node used and had reserved at a time. */
export const UsageSample = Type.Object({
  atMs: Type.Integer(),
  cpu: Type.Number({ description: "CPU cores busy." }),
  memoryBytes: Type.Integer(),
  running: Type.Integer({ description: "Attempts running." }),
  diskFreeBytes: Type.Integer(),
  load1: Type.Number(),
  reservedCpu: Type.Number(),
  reservedMemoryBytes: Type.Integer(),
  reservedSlots: Type.Integer(),
});
export type UsageSample = Static<typeof UsageSample>;

export const RuntimeInfo = Type.Object({ name: Type.String(), version: Type.String() });
export type RuntimeInfo = Static<typeof RuntimeInfo>;

/** What is known of a token with which nodes join; the token itself is not kept. */
export const JoinToken = Type.Object(
  {
    id: Type.String({ description: "First part of the token." }),
    name: Type.String({ description: "Name for people." }),
    createdAtMs: Type.Integer(),
    expiresAtMs: Type.Optional(Type.Integer({ description: "Absent: never." })),
  },
  { $id: "JoinToken", description: "A token with which nodes join." },
);
export type JoinToken = Static<typeof JoinToken>;

/** A machine that runs a SPEARlet. */
export const Node = Type.Object(
  {
    id: Type.String({ description: "node_…; kept across restarts." }),
    name: Type.String(),
    state: NodeStateSchema,
    httpAddress: Type.String(),
    grpcAddress: Type.String(),
    capacity: Capacity,
    reserved: Capacity,
    usage: NodeUsage,
    labels: Type.Record(Type.String(), Type.String()),
    runtimes: Type.Array(RuntimeInfo),
    facts: NodeFacts,
    registeredAtMs: Type.Integer(),
    lastSeenAtMs: Type.Integer(),
    incarnation: Type.String({ description: "Identity of this run of the SPEARlet." }),
    losses: Type.Optional(
      Type.Number({
        description: "How often it was lost; halves every ten minutes. As of lostAtMs.",
      }),
    ),
    lostAtMs: Type.Optional(Type.Integer()),
    heldFor: Type.Optional(
      Type.String({ description: "Task that waits for its room, until heldUntilMs." }),
    ),
    heldUntilMs: Type.Optional(Type.Integer()),
    cordoned: Type.Optional(Type.Boolean({ description: "Nothing new is placed on it." })),
    drainUntilMs: Type.Optional(
      Type.Integer({ description: "When what is left on it moves; absent: when it ends." }),
    ),
  },
  { $id: "Node", description: "A machine that runs a SPEARlet." },
);
export type Node = Static<typeof Node>;
