/** Log lines of several programs as one log for people. */
import { visible, type Paint } from "../output.ts";

const warn = 40;
const error = 50;
const levels: Readonly<Record<number, string>> = { 40: "WARN ", 50: "ERROR ", 60: "FATAL " };
/** What every line of pino's has and the reader sees elsewhere. */
const known = new Set(["level", "time", "program", "msg", "pid", "hostname", "v"]);

const two = (value: number) => String(value).padStart(2, "0");

function clockTime(at: Date): string {
  const ms = String(at.getMilliseconds()).padStart(3, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${ms}`;
}

function valueOf(field: unknown): string {
  if (typeof field === "string")
    return /^[\w@%+=:,./-]+$/.test(field) ? field : JSON.stringify(field);
  if (typeof field === "object" && field !== null && "message" in field) {
    return JSON.stringify(field.message);
  }
  return JSON.stringify(field);
}

/** A line that `name` wrote, without its end: pino's JSON or plain text. */
export function formatLogLine(name: string, line: string, paint: Paint, now: Date): string {
  const prefix = (time: Date) =>
    `${paint("dim", clockTime(time))} ${paint("cyan", name.padEnd(7))}`;
  let entry: Record<string, unknown> | undefined;
  try {
    const parsed: unknown = line.startsWith("{") ? JSON.parse(line) : undefined;
    if (typeof parsed === "object" && parsed !== null) entry = parsed as Record<string, unknown>;
  } catch {
    // Not JSON after all: shown as it is.
  }
  if (entry === undefined) return `${prefix(now)} ${visible(line)}`;
  const level = Number(entry["level"]);
  const mark = levels[level] ?? "";
  const text = typeof entry["msg"] === "string" ? entry["msg"] : "";
  const message = `${mark}${visible(text)}`;
  const fields = Object.entries(entry)
    .filter(([field]) => !known.has(field))
    .map(([field, value]) => `${field}=${visible(valueOf(value) ?? "")}`)
    .join(" ");
  const said =
    level >= error ? paint("red", message) : level >= warn ? paint("yellow", message) : message;
  const time = new Date(String(entry["time"]));
  return `${prefix(Number.isNaN(time.getTime()) ? now : time)} ${said}${fields === "" ? "" : `  ${paint("dim", fields)}`}`;
}
