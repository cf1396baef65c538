/**
 * The hostcalls: what a running task may ask of its node, by name, with what
 * each takes and gives. The wire (a Unix socket for processes and containers, a
 * pipe for Wasm guests) carries these shapes as JSON, and bytes beside them.
 */
import { Type, type Static, type TSchema } from "@sinclair/typebox";
import type { RightName } from "./grants.ts";
import { closed, labelMap, TaskStateSchema, words } from "./task.ts";

/** Bounds of what one attempt may ask. */
export const hostcallLimits = {
  /** Calls at once. */
  inFlight: 64,
  /** Open streams at once. */
  streams: 64,
  /** Bytes of one message over the pipe of a guest. */
  pipeBytes: 8 * 1024 * 1024,
  /** Bytes of an HTTP request's body. */
  httpBodyBytes: 8 * 1024 * 1024,
  /** Bytes of a value and of all values of a job together. */
  valueBytes: 256 * 1024,
  jobValueBytes: 64 * 1024 * 1024,
  /** Keys of a job. */
  jobKeys: 10_000,
  /** Children, grandchildren and so on of one task that nothing submitted. */
  descendants: 1_000,
} as const;

const object = words(
  "^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^\\u0000]{1,1024}$",
  "must be bucket/key",
  1100,
  "bucket/key of an object.",
);
const stream = Type.Integer({ minimum: 1, description: "Number of an open stream." });
const text = (maxLength: number, description: string) => Type.String({ maxLength, description });
const key = words(
  "^[^\\u0000*]{1,512}$",
  "must be 1–512 characters without NUL and *",
  512,
  "Key.",
);
const taskId = text(64, "task_… of a child.");
const empty = Type.Object({}, closed);

export const ObjectInfo = Type.Object(
  {
    object,
    id: Type.String({ description: "obj_…" }),
    sizeBytes: Type.Integer({ minimum: 0 }),
    sha256: Type.String({ description: "Lower-case hex; empty if it came in several parts." }),
    contentType: Type.String(),
    generation: Type.Integer({
      description: "Number of the change that gave the name its object.",
    }),
    metadata: Type.Record(Type.String(), Type.String()),
  },
  { description: "An object as it is stored." },
);
export type ObjectInfo = Static<typeof ObjectInfo>;

const putRequest = Type.Object(
  {
    object,
    contentType: Type.Optional(text(256, "Media type.")),
    metadata: Type.Optional(labelMap("User's metadata.")),
    ifAbsent: Type.Optional(Type.Boolean({ description: "Only if nothing has the name." })),
    ifGeneration: Type.Optional(
      Type.Integer({ minimum: 0, description: "Only if the name has this generation." }),
    ),
  },
  closed,
);
const httpRequest = Type.Object(
  {
    method: Type.Optional(
      words("^[A-Z]{1,16}$", "must be a method, as GET", 16, "Method. Default GET."),
    ),
    url: text(8192, "http:// or https:// URL."),
    headers: Type.Optional(
      Type.Record(Type.String(), text(8192, "Value."), { maxProperties: 128 }),
    ),
    timeoutMs: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 600_000, description: "Default 30,000." }),
    ),
  },
  closed,
);
const httpResponse = Type.Object({
  status: Type.Integer(),
  headers: Type.Record(Type.String(), Type.String()),
});
const version = Type.Integer({ minimum: 0, description: "Changes with each write; 0: no value." });

interface Shape {
  takes: TSchema;
  gives: TSchema;
  /** Bytes come with the request, or go with the answer. */
  bytes?: "in" | "out" | "both";
  /** The right that it needs; absent: none. */
  right?: RightName;
}

export const hostcalls = {
  "object.get": {
    takes: Type.Object(
      {
        object,
        offset: Type.Optional(Type.Integer({ minimum: 0, description: "First byte." })),
        lengthBytes: Type.Optional(Type.Integer({ minimum: 1, description: "Most bytes." })),
      },
      closed,
    ),
    gives: ObjectInfo,
    bytes: "out",
    right: "object.read",
  },
  "object.put": { takes: putRequest, gives: ObjectInfo, bytes: "in", right: "object.write" },
  "object.stat": {
    takes: Type.Object({ object }, closed),
    gives: ObjectInfo,
    right: "object.read",
  },
  "object.list": {
    takes: Type.Object(
      {
        prefix: words(
          "^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^\\u0000]{0,1024}$",
          "must be bucket/ and what keys start with",
          1100,
          "bucket/ and what keys start with.",
        ),
        pageSize: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000 })),
        pageToken: Type.Optional(text(4096, "nextPageToken of the page before.")),
      },
      closed,
    ),
    gives: Type.Object({
      objects: Type.Array(ObjectInfo),
      nextPageToken: Type.Optional(Type.String()),
    }),
    right: "object.read",
  },
  "object.ref": {
    takes: Type.Object({ object, ttlMs: Type.Optional(Type.Integer({ minimum: 0 })) }, closed),
    gives: empty,
    right: "object.keep",
  },
  "object.unref": { takes: Type.Object({ object }, closed), gives: empty, right: "object.keep" },
  "object.pin": { takes: Type.Object({ object }, closed), gives: empty, right: "object.keep" },
  "object.unpin": { takes: Type.Object({ object }, closed), gives: empty, right: "object.keep" },

  "task.self": {
    takes: empty,
    gives: Type.Object({
      taskId: Type.String(),
      attempt: Type.Integer(),
      nodeId: Type.String(),
      hostcalls: Type.Array(Type.String(), { description: "What is granted." }),
    }),
  },
  "task.submit": {
    takes: Type.Object(
      {
        spec: Type.Unknown({ description: "TaskSpec of the child." }),
        key: Type.Optional(
          text(
            128,
            "The same key of the same task returns the same child, in a later attempt too.",
          ),
        ),
        detached: Type.Optional(
          Type.Boolean({ description: "The child is not cancelled with this task." }),
        ),
      },
      closed,
    ),
    gives: Type.Object({ taskId: Type.String() }),
    right: "task.submit",
  },
  "task.wait": {
    takes: Type.Object(
      {
        taskId,
        timeoutMs: Type.Optional(
          Type.Integer({ minimum: 0, maximum: 60_000, description: "Default 30,000." }),
        ),
      },
      closed,
    ),
    gives: Type.Object({
      state: TaskStateSchema,
      exitCode: Type.Optional(Type.Integer()),
      failure: Type.Optional(Type.Object({ code: Type.String(), message: Type.String() })),
    }),
    right: "task.submit",
  },
  "task.cancel": { takes: Type.Object({ taskId }, closed), gives: empty, right: "task.submit" },

  "log.write": {
    takes: Type.Object(
      {
        level: Type.Optional(
          Type.Union(
            (["debug", "info", "warn", "error"] as const).map((level) => Type.Literal(level)),
            { errorMessage: "must be debug, info, warn or error", description: "Default info." },
          ),
        ),
        message: text(8192, "One line for people."),
        fields: Type.Optional(Type.Record(Type.String(), Type.Unknown(), { maxProperties: 64 })),
      },
      closed,
    ),
    gives: empty,
    right: "log",
  },

  "config.get": {
    takes: Type.Object({ name: text(256, "Name of a variable or secret of the spec.") }, closed),
    gives: Type.Object({ value: Type.Optional(Type.String()) }),
    right: "config",
  },
  "config.list": {
    takes: empty,
    gives: Type.Object({ names: Type.Array(Type.String()) }),
    right: "config",
  },

  "keyvalue.get": {
    takes: Type.Object({ key }, closed),
    gives: Type.Object({ version }),
    bytes: "out",
    right: "keyvalue.read",
  },
  "keyvalue.list": {
    takes: Type.Object(
      {
        prefix: Type.Optional(text(512, "Only keys that start with this.")),
        after: Type.Optional(text(512, "Only keys behind this one.")),
      },
      closed,
    ),
    gives: Type.Object({ keys: Type.Array(Type.String()), more: Type.Boolean() }),
    right: "keyvalue.read",
  },
  "keyvalue.set": {
    takes: Type.Object(
      {
        key,
        ifVersion: Type.Optional(
          Type.Integer({ minimum: 0, description: "Only if it has this version; 0: no value." }),
        ),
      },
      closed,
    ),
    gives: Type.Object({ version }),
    bytes: "in",
    right: "keyvalue.write",
  },
  "keyvalue.delete": {
    takes: Type.Object({ key, ifVersion: Type.Optional(Type.Integer({ minimum: 0 })) }, closed),
    gives: Type.Object({ version }),
    right: "keyvalue.write",
  },
  "keyvalue.increment": {
    takes: Type.Object(
      { key, by: Type.Optional(Type.Integer({ description: "Default 1." })) },
      closed,
    ),
    gives: Type.Object({ value: Type.Integer(), version }),
    right: "keyvalue.write",
  },

  "http.request": {
    takes: httpRequest,
    gives: httpResponse,
    bytes: "both",
    right: "http",
  },

  // Streams, for guests that can't hold what they read or write.
  "stream.open": {
    takes: Type.Object({ object, offset: Type.Optional(Type.Integer({ minimum: 0 })) }, closed),
    gives: Type.Composite([ObjectInfo, Type.Object({ stream })]),
    right: "object.read",
  },
  "stream.create": {
    takes: putRequest,
    gives: Type.Object({ stream }),
    right: "object.write",
  },
  "stream.request": {
    takes: httpRequest,
    gives: Type.Composite([httpResponse, Type.Object({ stream })]),
    bytes: "in",
    right: "http",
  },
  "stream.read": {
    takes: Type.Object({ stream, maxBytes: Type.Integer({ minimum: 1 }) }, closed),
    gives: Type.Object({ end: Type.Boolean() }),
    bytes: "out",
  },
  "stream.write": { takes: Type.Object({ stream }, closed), gives: empty, bytes: "in" },
  "stream.finish": { takes: Type.Object({ stream }, closed), gives: ObjectInfo },
  "stream.close": { takes: Type.Object({ stream }, closed), gives: empty },
} as const satisfies Record<string, Shape>;

export type HostcallName = keyof typeof hostcalls;
export type Takes<N extends HostcallName> = Static<(typeof hostcalls)[N]["takes"]>;
export type Gives<N extends HostcallName> = Static<(typeof hostcalls)[N]["gives"]>;

export function isHostcall(name: string): name is HostcallName {
  return Object.hasOwn(hostcalls, name);
}
