/**
 * Ids: branded strings with a prefix and a time-ordered tail (`task_01J…`), so
 * that the newest sort last and two kinds can't be mixed up.
 */
import { decodeTime, monotonicFactory } from "ulid";
import { Fault } from "./fault.ts";

declare const brand: unique symbol;
type Branded<K extends string> = string & { readonly [brand]: K };

export type TaskId = Branded<"task">;
export type JobId = Branded<"job">;
export type NodeId = Branded<"node">;
export type ObjectId = Branded<"obj">;

interface IdTypes {
  task: TaskId;
  job: JobId;
  node: NodeId;
  obj: ObjectId;
}
export type IdKind = keyof IdTypes;

const tail = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;
const ulid = monotonicFactory();

/** Makes ids; injected, so that a simulation can make them from its seed. */
export interface IdSource {
  /** A new id, greater than any made before by this source in this process. */
  next<K extends IdKind>(kind: K): IdTypes[K];
}

/** Ids from the system's clock and randomness (https://github.com/ulid/spec). */
export const systemIds: IdSource = {
  next: <K extends IdKind>(kind: K) => `${kind}_${ulid()}` as IdTypes[K],
};

/** True if `value` is an id of that kind. */
export function isId<K extends IdKind>(kind: K, value: unknown): value is IdTypes[K] {
  return (
    typeof value === "string" &&
    value.startsWith(`${kind}_`) &&
    tail.test(value.slice(kind.length + 1))
  );
}

/** Checks an id that came from outside; `field` is named in the error. */
export function parseId<K extends IdKind>(kind: K, value: unknown, field: string): IdTypes[K] {
  if (isId(kind, value)) return value;
  throw new Fault("invalid_argument", `${field} is not a ${kind} id`, {
    field,
    help: `${kind} ids look like ${kind}_01JD3T1V7Z8Q4N5M6P7R8S9T0A`,
  });
}

/** When an id was made; milliseconds since 1970. */
export function timeOfId(id: IdTypes[IdKind]): number {
  return decodeTime(id.slice(id.indexOf("_") + 1));
}

/** The job that a single task forms: a job of one with the same tail. */
export function jobOfOne(task: TaskId): JobId {
  return `job_${task.slice("task_".length)}` as JobId;
}
