/** Settings of the Object Store. */
import { Type, type Static } from "@sinclair/typebox";

const listen = (port: number, what: string) =>
  Type.String({
    pattern: "^[^\\s]+:[0-9]{1,5}$",
    default: `127.0.0.1:${port}`,
    description: `Address of the ${what} listener; port 0 picks a free one.`,
    errorMessage: "must look like 127.0.0.1:7720",
  });

export const storeConfig = Type.Object(
  {
    httpListen: listen(7720, "HTTP"),
    grpcListen: listen(7721, "gRPC"),
    redisUrl: Type.String({
      default: "redis://127.0.0.1:6379",
      description: "Redis: redis://, rediss:// or unix:///path.",
    }),
    namespace: Type.String({
      default: "spear",
      pattern: "^[A-Za-z0-9_-]{1,64}$",
      description: "Prefix of all Redis keys.",
    }),
    dataDir: Type.String({
      default: "./spear-data/store",
      minLength: 1,
      description: "Directory of the chunks. One Store at a time may use it.",
    }),
    logLevel: Type.String({
      default: "info",
      pattern: "^(fatal|error|warn|info|debug|trace|silent)$",
      description: "Least level that is logged.",
    }),
    maxObjectBytes: Type.Integer({
      default: 256 * 2 ** 30,
      minimum: 1,
      description: "Largest object, in bytes.",
    }),
    reserveBytes: Type.Integer({
      default: 1 << 30,
      minimum: 0,
      description: "Writes are refused when the disk has less than this free, in bytes.",
    }),
    bufferBytes: Type.Integer({
      default: 96 << 20,
      minimum: 32 << 20,
      description: "Memory for chunks on their way in, of all clients together, in bytes.",
    }),
    segmentBytes: Type.Integer({
      default: 64 << 20,
      minimum: 1 << 10,
      maximum: 1 << 30,
      description: "Size at which a segment of small objects is followed by the next, in bytes.",
    }),
    journalBytes: Type.Integer({
      default: 64 << 20,
      minimum: 1 << 10,
      description: "Size at which a file of the journal is followed by the next, in bytes.",
    }),
    graceMs: Type.Integer({
      default: 600_000,
      minimum: 0,
      description: "An object that nothing keeps is collected after this long, in milliseconds.",
    }),
    collectMs: Type.Integer({
      default: 10_000,
      minimum: 10,
      description: "Time between two looks for what is to be collected, in milliseconds.",
    }),
    uploadExpireMs: Type.Integer({
      default: 7 * 86_400_000,
      minimum: 1_000,
      description:
        "A multi-part upload that was not completed ends after this long, in milliseconds.",
    }),
    idleTimeoutMs: Type.Integer({
      default: 60_000,
      minimum: 100,
      description: "A client that moves no byte for this long is cut off, in milliseconds.",
    }),
  },
  { additionalProperties: false },
);

export type StoreConfig = Static<typeof storeConfig>;
