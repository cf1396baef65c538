/**
 * Configuration: one TypeBox object schema per program. A value comes from the
 * command line, else from `SPEAR_*`, else from the program's section of
 * `spear.yaml`, else from the schema's default; `--help` is made from the schema.
 */
import type { Static, TObject, TSchema } from "@sinclair/typebox";
import { existsSync, readFileSync } from "node:fs";
import { parse } from "yaml";
import { check } from "./check.ts";
import { Fault } from "./fault.ts";

/** `grpcListen` → `--grpc-listen`. */
export function flagOf(property: string): string {
  return `--${property.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** `grpcListen` of `sms` → `SPEAR_SMS_GRPC_LISTEN`. */
export function environmentOf(program: string, property: string): string {
  const snake = property.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
  return `SPEAR_${program.toUpperCase()}_${snake}`;
}

/** Turns what a shell can say into what the schema wants; leaves the rest to the check. */
function coerce(schema: TSchema, value: unknown): unknown {
  if (typeof value !== "string") return value;
  switch (schema["type"]) {
    case "number":
    case "integer":
      return value.trim() === "" || Number.isNaN(Number(value)) ? value : Number(value);
    case "boolean":
      return value === "true" || value === "1"
        ? true
        : value === "false" || value === "0"
          ? false
          : value;
    case "array":
      return value === "" ? [] : value.split(",");
    case "object": {
      const [rule = {}] = Object.values((schema["patternProperties"] ?? {}) as TSchema[]);
      return Object.fromEntries(
        value
          .split(",")
          .filter((pair) => pair !== "")
          .map((pair) => {
            const at = pair.indexOf("=");
            return at < 0
              ? [pair, ""]
              : [pair.slice(0, at), coerce(rule as TSchema, pair.slice(at + 1))];
          }),
      );
    }
    default:
      return value;
  }
}

export interface ConfigSources {
  /** Values given on the command line, by property name. */
  flags: Readonly<Record<string, unknown>>;
  environment: Readonly<Record<string, string | undefined>>;
  /** Path of the YAML file; a missing file is no error unless it was asked for. */
  file?: { path: string; required: boolean };
}

/** The program's configuration; throws `invalid_argument` naming the value's source. */
export function loadConfig<S extends TObject>(
  program: string,
  schema: S,
  sources: ConfigSources,
): Static<S> {
  const section = readSection(program, sources.file);
  const unknownKey = Object.keys(section).find((key) => !(key in schema.properties));
  if (unknownKey !== undefined) {
    throw new Fault("invalid_argument", `${program}.${unknownKey}: unknown setting`, {
      field: `${program}.${unknownKey}`,
      help: `known settings: ${Object.keys(schema.properties).join(", ")}`,
    });
  }
  const config: Record<string, unknown> = {};
  for (const [property, rule] of Object.entries(schema.properties)) {
    const given =
      sources.flags[property] ??
      sources.environment[environmentOf(program, property)] ??
      section[property] ??
      (rule as { default?: unknown }).default;
    if (given !== undefined) config[property] = coerce(rule, given);
  }
  return check(schema, config, program);
}

function readSection(program: string, file: ConfigSources["file"]): Record<string, unknown> {
  if (file === undefined || (!file.required && !existsSync(file.path))) return {};
  let document: unknown;
  try {
    document = parse(readFileSync(file.path, "utf8"));
  } catch (error) {
    throw new Fault("invalid_argument", `can't read ${file.path}: ${(error as Error).message}`, {
      field: "config",
    });
  }
  const section: unknown = (document as Record<string, unknown> | null)?.[program];
  return typeof section === "object" && section !== null
    ? (section as Record<string, unknown>)
    : {};
}
