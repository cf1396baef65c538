/** The settings of SPEARlet. */
import { Type, type Static } from "@sinclair/typebox";
import { runtimes } from "@spear/shared/task.ts";

const bytes = (value: number, description: string) =>
  Type.Integer({ minimum: 1, default: value, description: `${description}, in bytes` });

export const spearletConfig = Type.Object(
  {
    httpListen: Type.String({
      default: "127.0.0.1:7710",
      description: "Address of the HTTP listener",
    }),
    grpcListen: Type.String({
      default: "127.0.0.1:7711",
      description: "Address of the gRPC listener",
    }),
    smsAddress: Type.String({
      default: "127.0.0.1:7701",
      minLength: 1,
      description: "gRPC addresses of SMS's replicas, as host:7701,other:7701; one is enough",
    }),
    dataDir: Type.String({
      default: "spearlet-data",
      minLength: 1,
      description: "Directory for the node's id, journals, logs and work directories",
    }),
    name: Type.Optional(
      Type.String({ maxLength: 128, description: "Name for people; default: the host's" }),
    ),
    labels: Type.Record(Type.String(), Type.String(), {
      default: {},
      description: "Labels for constraints, as zone=eu,disk=ssd",
    }),
    runtimes: Type.Array(
      Type.Union(
        runtimes.map((runtime) => Type.Literal(runtime)),
        { errorMessage: `must be one of ${runtimes.join(", ")}` },
      ),
      {
        default: ["process", "docker", "wasm"],
        minItems: 1,
        description: "Runtimes to offer where they work; mock is for tests",
      },
    ),
    cpu: Type.Optional(
      Type.Number({
        exclusiveMinimum: 0,
        maximum: 4096,
        description: "CPU cores to offer; default: what the machine or its control group has",
      }),
    ),
    memoryBytes: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 2 ** 50,
        description: "Memory to offer, in bytes; default: what the machine or its group has",
      }),
    ),
    slots: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 10_000,
        description: "Most attempts at once; default: 16 for each core",
      }),
    ),
    extras: Type.Record(
      Type.String({ pattern: "^[a-z][a-z0-9-]{0,31}$" }),
      Type.Integer({ minimum: 0, maximum: 2 ** 20 }),
      {
        default: {},
        additionalProperties: false,
        description: "Countable things to offer, as gpu=2,licence=1",
      },
    ),
    redisUrl: Type.Optional(
      Type.String({ description: "Redis of the node's queue; default: what SMS says" }),
    ),
    storeUrl: Type.Optional(
      Type.String({ description: "HTTP address of the Object Store; default: what SMS says" }),
    ),
    sandboxes: Type.Optional(
      Type.Array(
        Type.Union([Type.Literal("none"), Type.Literal("namespace")], {
          errorMessage: "must be none or namespace",
        }),
        {
          minItems: 1,
          description:
            "Sandboxes that processes may run in, the default first; default: none,namespace, " +
            "but only namespace if the node listens beyond loopback",
        },
      ),
    ),
    sandboxNetwork: Type.Optional(
      Type.Boolean({
        description:
          "A sandbox may share the host's network, if the task asks for it; default: yes, " +
          "but not if the node listens beyond loopback",
      }),
    ),
    dockerSocket: Type.String({
      default: "/var/run/docker.sock",
      minLength: 1,
      description: "Socket of Docker Engine",
    }),
    dockerConfig: Type.Optional(
      Type.String({ description: "Registry credentials, as Docker's config.json" }),
    ),
    dockerNetworks: Type.Array(
      Type.Union([Type.Literal("bridge"), Type.Literal("host")], {
        errorMessage: "must be bridge or host",
      }),
      { default: ["bridge"], description: "Networks that a container may ask for besides none" },
    ),
    imageObjects: Type.Optional(
      Type.Boolean({
        description:
          "Images may be loaded from objects, and are there for every task then; default: yes, " +
          "but not if the node listens beyond loopback",
      }),
    ),
    moduleHosts: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 260 }), {
        description:
          "Hosts, with their ports if not the usual, from which modules may be fetched by URL, or " +
          "any; default: any, but none if the node listens beyond loopback",
      }),
    ),
    wasmCpuSeconds: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 2 ** 31 - 1,
        description: "Most CPU time of a Wasm task, in seconds; default: no limit",
      }),
    ),
    wasmReuse: Type.Boolean({
      default: false,
      description:
        "Wasm tasks that ask for it may follow each other in one process; for nodes whose tasks " +
        "have one owner",
    }),
    maxLocalTasks: Type.Integer({
      minimum: 0,
      maximum: 100_000,
      default: 1_000,
      description: "Tasks that the node accepts by itself while SMS is away; 0: none",
    }),
    joinToken: Type.String({ default: "", description: "Join token, where SMS asks for one" }),
    moduleCacheBytes: bytes(1024 ** 3, "Wasm modules kept on disk"),
    objectCacheBytes: bytes(4 * 1024 ** 3, "Objects kept on disk that tasks have used"),
    maxLogsBytes: bytes(1024 ** 3, "Output kept of all ended attempts together"),
    maxLogsAttempts: Type.Integer({
      minimum: 1,
      maximum: 1_000_000,
      default: 10_000,
      description: "Ended attempts whose output is kept",
    }),
    prepareTimeoutMs: Type.Integer({
      minimum: 1_000,
      default: 600_000,
      description: "Longest time for inputs, images and modules, in milliseconds",
    }),
    stopGraceMs: Type.Integer({
      minimum: 0,
      maximum: 60_000,
      default: 2_000,
      description: "Time that running attempts get when the node stops, in milliseconds",
    }),
    logLevel: Type.String({
      default: "info",
      pattern: "^(fatal|error|warn|info|debug|trace|silent)$",
      errorMessage: "must be fatal, error, warn, info, debug, trace or silent",
      description: "Least severe log line that is written",
    }),
  },
  { additionalProperties: false },
);
export type SpearletConfig = Static<typeof spearletConfig>;

/** True if the node can be reached from elsewhere, so that its tasks may be anybody's. */
function isExposed({ httpListen, grpcListen }: SpearletConfig): boolean {
  return [httpListen, grpcListen].some(
    (address) => !/^(?:127\.[\d.]+|localhost|\[?::1\]?):\d+$/.test(address),
  );
}

/** What a task may have this node bring in from elsewhere. */
export function sourcePolicy(config: SpearletConfig): {
  moduleHosts: readonly string[];
  imageObjects: boolean;
} {
  const exposed = isExposed(config);
  return {
    moduleHosts: config.moduleHosts ?? (exposed ? [] : ["any"]),
    imageObjects: config.imageObjects ?? !exposed,
  };
}

/** What processes may have on this node. */
export function processPolicy(config: SpearletConfig): {
  sandboxes: readonly ("none" | "namespace")[];
  hostNetwork: boolean;
} {
  const exposed = isExposed(config);
  return {
    sandboxes: config.sandboxes ?? (exposed ? ["namespace"] : ["none", "namespace"]),
    hostNetwork: config.sandboxNetwork ?? !exposed,
  };
}
