/**
 * What people write for durations, sizes and pairs, as values; and back, for
 * people to read. A parser throws commander's `InvalidArgumentError`, to which
 * commander adds the option's name.
 */
import { isId, type IdKind } from "@spear/shared/ids.ts";
import { Fault } from "@spear/shared/fault.ts";
import { durationMs, sizeBytes } from "@spear/shared/units.ts";
import { InvalidArgumentError } from "commander";

/** `30s`, `1.5h`, `250ms` → milliseconds. */
export function parseDurationMs(text: string): number {
  const ms = durationMs(text);
  if (Number.isNaN(ms)) throw new InvalidArgumentError("Write it as 250ms, 30s, 5m, 2h or 1d.");
  return ms;
}

/** `64Mi`, `1.5G`, `1024` → bytes. */
export function parseBytes(text: string): number {
  const bytes = sizeBytes(text);
  if (!Number.isNaN(bytes)) return bytes;
  throw new InvalidArgumentError("Write it as 1024, 64Mi, 512M, 1.5Gi or 2G.");
}

/** A whole number that is not negative. */
export function parseCount(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError("Write a whole number.");
  return Number(text);
}

/** A number that is not negative, as `0.5`. */
export function parseAmount(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text)) throw new InvalidArgumentError("Write a number, as 0.5 or 2.");
  return Number(text);
}

/** For an option that may be given again: `a=1` joins the record of those before. */
export function collectPair(
  text: string,
  before: Readonly<Record<string, string>> | undefined,
): Record<string, string> {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("Write it as NAME=VALUE.");
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}

/** For an option that may be given again: adds to the list. */
export function collect(text: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), text];
}

/** Where an object is named. */
export interface ObjectName {
  bucket: string;
  key: string;
}

/** A bucket's name; refuses what would become another path on its way in a URL. */
export function parseBucket(text: string): string {
  if (/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(text)) return text;
  throw new InvalidArgumentError(
    "A bucket has 3-63 of a-z, 0-9, '.' and '-', a letter or digit at both ends.",
  );
}

/** `bucket/key/with/slashes`; refuses keys that would become others on their way in a URL. */
export function parseObjectName(text: string): ObjectName {
  const at = text.indexOf("/");
  if (at < 1 || at === text.length - 1) throw new InvalidArgumentError("Write it as BUCKET/KEY.");
  const key = text.slice(at + 1);
  if (key.split("/").some((part) => part === "." || part === "..")) {
    throw new InvalidArgumentError("A key has no '.' or '..' as a part.");
  }
  return { bucket: parseBucket(text.slice(0, at)), key };
}

/** An id of that kind, as the server gave it. */
export function parseIdOf(kind: IdKind): (text: string) => string {
  return (text) => {
    if (isId(kind, text)) return text;
    throw new InvalidArgumentError(`It is no ${kind} id; they look like ${kind}_01JD3T….`);
  };
}

/** An object and where it goes in the work directory, or the reverse. */
export interface Staging {
  object: string;
  path: string;
}

/** `bucket/key:path`; a key may hold colons, a path may not. Without a path, the key's last part. */
export function collectInput(text: string, before: readonly Staging[] | undefined): Staging[] {
  const at = text.lastIndexOf(":");
  const object = at < 0 ? text : text.slice(0, at);
  const { key } = parseObjectName(object);
  const path = at < 0 ? (key.split("/").at(-1) ?? "") : text.slice(at + 1);
  if (path === "") throw new InvalidArgumentError("Write it as BUCKET/KEY:PATH.");
  return [...(before ?? []), { object, path }];
}

/** `path:bucket/key`; a path may not hold colons, a key may. */
export function collectOutput(text: string, before: readonly Staging[] | undefined): Staging[] {
  const at = text.indexOf(":");
  if (at < 1) throw new InvalidArgumentError("Write it as PATH:BUCKET/KEY.");
  const object = text.slice(at + 1);
  parseObjectName(object);
  return [...(before ?? []), { path: text.slice(0, at), object }];
}

/**
 * The variables of an env file: `NAME=VALUE` lines, blank lines and `#` comments.
 * Throws `invalid_argument` naming the line.
 */
export function parseEnvFile(text: string, path: string): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "" || line.trimStart().startsWith("#")) continue;
    const at = line.indexOf("=");
    if (at < 1) {
      throw new Fault(
        "invalid_argument",
        `--env-file: line ${index + 1} of ${path} is not NAME=VALUE`,
        { field: "--env-file" },
      );
    }
    variables[line.slice(0, at).trim()] = line.slice(at + 1);
  }
  return variables;
}

/** `1536` → `1.5 KiB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}

/** `90_500` → `1m30s`; at most two units, and milliseconds below ten seconds. */
export function formatDuration(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))}ms`;
  if (ms < 10_000) return `${(ms / 1_000).toFixed(1)}s`;
  const seconds = Math.round(ms / 1_000);
  const two = (big: number, bigUnit: string, small: number, smallUnit: string) =>
    `${big}${bigUnit}${small === 0 ? "" : `${small}${smallUnit}`}`;
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3_600) return two(Math.floor(seconds / 60), "m", seconds % 60, "s");
  if (seconds < 86_400) {
    return two(Math.floor(seconds / 3_600), "h", Math.floor((seconds % 3_600) / 60), "m");
  }
  return two(Math.floor(seconds / 86_400), "d", Math.floor((seconds % 86_400) / 3_600), "h");
}
