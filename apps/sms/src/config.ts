/** Configuration of SMS; `--help`, `SPEAR_SMS_*` and `spear.yaml` derive from this schema. */
import { Type, type Static } from "@sinclair/typebox";

export const smsConfig = Type.Object(
  {
    httpListen: Type.String({
      default: "127.0.0.1:7700",
      pattern: ":\\d+$",
      description: "Address of the HTTP listener, host:port; port 0 picks one.",
    }),
    grpcListen: Type.String({
      default: "127.0.0.1:7701",
      pattern: ":\\d+$",
      description: "Address of the gRPC listener, host:port; port 0 picks one.",
    }),
    redisUrl: Type.String({
      default: "redis://127.0.0.1:6379",
      description: "Redis, as redis://host:port or unix:///path/to/socket.",
    }),
    namespace: Type.String({
      default: "spear",
      pattern: "^[a-z0-9-]{1,32}$",
      description: "Prefix of all keys; two clusters may share one Redis.",
    }),
    storeUrl: Type.String({
      default: "",
      description: "HTTP address of the Object Store, as http://127.0.0.1:7720.",
    }),
    joinTokens: Type.String({
      default: "off",
      pattern: "^(off|required)$",
      errorMessage: "must be off or required",
      description: "required: a node that is not known yet has to show a join token.",
    }),
    leaseMs: Type.Integer({
      default: 4_000,
      minimum: 200,
      maximum: 600_000,
      description: "How long a node may be silent before its tasks go to others.",
    }),
    heartbeatMs: Type.Integer({
      default: 1_000,
      minimum: 50,
      maximum: 60_000,
      description: "How often nodes send a heartbeat.",
    }),
    eventsKept: Type.Integer({
      default: 1_000_000,
      minimum: 1_000,
      description: "How many events can be replayed.",
    }),
    reconcileMs: Type.Integer({
      default: 2_000,
      minimum: 50,
      description: "How often records are compared with leases and queues.",
    }),
    outputRoundMs: Type.Integer({
      default: 60_000,
      minimum: 50,
      description: "Pause between two searches for stored output whose task was removed.",
    }),
    nodeFaultLimit: Type.Integer({
      default: 8,
      minimum: 1,
      description: "How many nodes a task may lose before it is failed as dangerous.",
    }),
    placement: Type.String({
      default: "binpack",
      pattern: "^(binpack|spread)$",
      description: "binpack fills nodes one after the other, spread loads all alike.",
    }),
    reserveAfterMs: Type.Integer({
      default: 30_000,
      minimum: 0,
      description: "How long the first in line waits for room before a node is kept free for it.",
    }),
    preemption: Type.String({
      default: "off",
      pattern: "^(on|off)$",
      errorMessage: "must be on or off",
      description:
        "on: a task that finds no room takes that of others of lower priority, which wait again.",
    }),
    preemptEveryMs: Type.Integer({
      default: 1_000,
      minimum: 10,
      description: "Least time between two such takings on one replica.",
    }),
    advertise: Type.String({
      default: "",
      description: "gRPC address at which nodes reach this replica; default: that of its listener.",
    }),
    onDataLoss: Type.String({
      default: "adopt",
      pattern: "^(adopt|stop)$",
      description:
        "What nodes do with attempts whose records Redis has lost: adopt makes the records " +
        "anew, stop ends the attempts.",
    }),
    logLevel: Type.String({
      default: "info",
      description: "fatal, error, warn, info, debug, trace or silent.",
    }),
  },
  { additionalProperties: false },
);
export type SmsConfig = Static<typeof smsConfig>;
