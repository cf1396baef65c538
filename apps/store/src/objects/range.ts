/** Byte ranges of an object (RFC 9110, section 14). */
import { Fault } from "@spear/shared/fault.ts";

/** `start` is included, `end` is not. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** From `offset` for `length` bytes or to the end; or the last `suffix` bytes. */
export type RangeRequest = { offset: number; length?: number | undefined } | { suffix: number };

/** The range that was asked for, cut to the object. Errors: `range_not_satisfiable`. */
export function resolveRange(asked: RangeRequest, size: number): ByteRange {
  if ("suffix" in asked) {
    if (asked.suffix > 0 && size > 0) return { start: Math.max(0, size - asked.suffix), end: size };
    throw notSatisfiable(size);
  }
  const { offset, length } = asked;
  if (offset < 0 || (length !== undefined && length < 0)) {
    throw new Fault("invalid_argument", "a range can't be negative", { field: "offset" });
  }
  // The whole of an empty object is not an error over gRPC: offset 0, no length.
  if (offset === 0 && length === undefined) return { start: 0, end: size };
  if (offset >= size || length === 0) throw notSatisfiable(size);
  return { start: offset, end: length === undefined ? size : Math.min(size, offset + length) };
}

function notSatisfiable(size: number): Fault {
  return new Fault("range_not_satisfiable", `the object has ${size} bytes`, { field: "range" });
}

/** A Range header; undefined if it is to be ignored, as several ranges or other units are. */
export function parseRangeHeader(header: string | null | undefined): RangeRequest | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? "");
  if (match === null) return undefined;
  const [, first = "", last = ""] = match;
  if (first === "") return last === "" ? undefined : { suffix: Number(last) };
  if (last === "") return { offset: Number(first) };
  if (Number(last) < Number(first)) return undefined;
  return { offset: Number(first), length: Number(last) - Number(first) + 1 };
}
