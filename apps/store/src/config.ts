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
    blobBackend: Type.String({
      default: "disk",
      pattern: "^(disk|s3)$",
      description: "Where the bytes lie: disk, below dataDir, or s3, a bucket of any S3 service.",
      errorMessage: "must be disk or s3",
    }),
    s3Endpoint: Type.Optional(
      Type.String({
        pattern: "^https?://[^\\s/]+/?$",
        description: "Address of the S3 service, as https://host:port; Amazon's without it.",
        errorMessage: "must look like https://host:port",
      }),
    ),
    s3Region: Type.String({ default: "us-east-1", description: "Region of the S3 service." }),
    s3Bucket: Type.Optional(Type.String({ description: "Bucket for the bytes; must exist." })),
    s3Prefix: Type.String({
      default: "",
      pattern: "^([^\\s/][^\\s]*)?$",
      description: "What all keys in that bucket start with. One Store at a time may use it.",
    }),
    s3AccessKeyId: Type.Optional(Type.String({ description: "Access key of the S3 service." })),
    s3SecretAccessKey: Type.Optional(Type.String({ secret: true, description: "Its secret." })),
    s3SecretFile: Type.Optional(Type.String({ description: "File that has the secret." })),
    durable: Type.String({
      default: "strict",
      pattern: "^(strict|relaxed)$",
      description:
        "strict: a change is acknowledged when it is on this disk; relaxed: when Redis has it.",
      errorMessage: "must be strict or relaxed",
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
      default: 48 << 20,
      minimum: 32 << 20,
      description:
        "Memory for chunks on their way in, and as much for those on their way out, of all clients together, in bytes.",
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
    s3Domain: Type.String({
      default: "",
      pattern: "^([a-z0-9-]+(\\.[a-z0-9-]+)*)?$",
      description: "Domain below which S3 clients may name a bucket as a host, as BUCKET.DOMAIN.",
    }),
    s3CorsOrigins: Type.Array(Type.String(), {
      default: [],
      description: "Origins whose scripts may call the S3 face from browsers; * for all.",
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

/** Settings of what is done to a store from outside: the store's own, and these. */
export const storeToolConfig = Type.Object(
  {
    fix: Type.Boolean({ default: false, description: "fsck: put right what can be." }),
    rate: Type.String({
      default: "64Mi",
      description: "scrub: most bytes that are read in a second; max: as fast as it can.",
    }),
    cut: Type.Optional(Type.String({ description: "restore: which cut; the latest without it." })),
    ...storeConfig.properties,
  },
  { additionalProperties: false },
);

export type StoreToolConfig = Static<typeof storeToolConfig>;
