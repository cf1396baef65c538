/**
 * Job files: what people write, in YAML or JSON, with `30s`, `64Mi` and `${param.x}`,
 * turned into a `JobSpec` in canonical units. Pure. Errors name the path in the file.
 */
import { Kind, Type, type Static, type TObject, type TSchema } from "@sinclair/typebox";
import { parse } from "yaml";
import { check } from "./check.ts";
import { Fault } from "./fault.ts";
import { checkJobSpec, JobSpec, JobTaskSpec, TaskTemplate } from "./job.ts";
import { mapStrings, substitute } from "./references.ts";
import { ScheduleTimes } from "./schedule.ts";
import { closed, MockSpec, Resources, RetryPolicy } from "./task.ts";
import { durationMs, durationPattern, sizeBytes, sizePattern } from "./units.ts";

/** Largest file, in bytes. */
const maxFileBytes = 16 << 20;

type Unit = "duration" | "size" | "text";

/** Name in the file → name in the spec and what is written there. */
const units: Readonly<Record<string, readonly [string, Unit]>> = {
  timeout: ["timeoutMs", "duration"],
  grace: ["graceMs", "duration"],
  delay: ["delayMs", "duration"],
  maxDelay: ["maxDelayMs", "duration"],
  deadline: ["deadlineMs", "duration"],
  retention: ["retentionMs", "duration"],
  sleep: ["sleepMs", "duration"],
  memory: ["memoryBytes", "size"],
  maxLog: ["maxLogBytes", "size"],
  stdin: ["stdin", "text"],
};
const fileNames = new Map(Object.entries(units).map(([name, [canonical]]) => [canonical, name]));

function written(unit: Unit, rule: TSchema): TSchema {
  const described = (rule.description ?? "").replace(/, in milliseconds$/, "");
  if (unit === "text") return Type.String({ description: "Text given on standard input." });
  return unit === "duration"
    ? Type.String({
        pattern: durationPattern,
        errorMessage: "must be a duration, as 250ms, 30s, 5m, 2h or 1d",
        description: `${described}.`,
      })
    : Type.Unsafe<string | number>(
        Type.Union([Type.Integer({ minimum: 0 }), Type.String({ pattern: sizePattern })], {
          errorMessage: "must be a size, as 1024, 64Mi, 512M or 1.5Gi",
          description: described,
        }),
      );
}

/** The properties of a schema, named and written as in a file. */
function inFile(schema: TObject): Record<string, TSchema> {
  return Object.fromEntries(
    Object.entries(schema.properties).map(([canonical, rule]) => {
      const name = fileNames.get(canonical) ?? canonical;
      const unit = units[name]?.[1];
      return [name, unit === undefined ? rule : Type.Optional(written(unit, rule))];
    }),
  );
}

const nested = (schema: TObject) =>
  Type.Optional(
    Type.Object(inFile(schema), {
      ...closed,
      ...(schema.description === undefined ? {} : { description: schema.description }),
    }),
  );

const { replicas, dependsOn, system } = JobTaskSpec.properties;
const TaskFile = Type.Object(
  {
    ...inFile(TaskTemplate),
    mock: nested(MockSpec),
    resources: nested(Resources),
    retries: nested(RetryPolicy),
    replicas,
    dependsOn,
    system,
  },
  { ...closed, description: "A task of the job, or an array of them." },
);

const ParamDefault = Type.Union([Type.String(), Type.Number(), Type.Boolean(), Type.Null()], {
  description: "Default, which also gives the type; null if it must be given.",
});

/** A job file as it is written, parameters substituted. */
export const JobFile = Type.Object(
  {
    ...inFile(JobSpec),
    tasks: Type.Record(Type.String({ pattern: "^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$" }), TaskFile, {
      ...closed,
      minProperties: 1,
      description: "Tasks by name.",
    }),
    schedule: Type.Optional(ScheduleTimes),
    params: Type.Optional(
      Type.Record(Type.String({ pattern: "^[A-Za-z_][A-Za-z0-9_-]{0,62}$" }), ParamDefault, {
        ...closed,
        description: "Parameters: ${param.NAME} stands for the value given with -p NAME=VALUE.",
      }),
    ),
  },
  { ...closed, $id: "JobFile", title: "SPEAR job", description: "A job of SPEAR." },
);
export type JobFile = Static<typeof JobFile>;

/** Parameters with their values as text, as they go into strings. */
type Params = Readonly<Record<string, string>>;

function bad(field: string, said: string, help?: string): Fault {
  return new Fault("invalid_argument", `${field}: ${said}`, {
    field,
    ...(help === undefined ? {} : { help }),
  });
}

// In flow style YAML takes the braces of `${x}` for its own: they are others while it reads.
const [open, close] = ["\ue000", "\ue001"];
const hidden = (text: string) => text.replaceAll(/\$\{([^{}\n]*)\}/g, `$$${open}$1${close}`);
const shown = (text: string) => text.replaceAll(open, "{").replaceAll(close, "}");

/** The document in a file; `path` is named in errors. Throws `invalid_argument`. */
export function parseJobFile(text: string, path: string): unknown {
  if (text.length > maxFileBytes) throw bad(path, `has more than ${maxFileBytes} bytes`);
  try {
    return mapStrings(parse(hidden(text)), shown);
  } catch (error) {
    throw bad(path, (error as Error).message.split("\n")[0] ?? "is not YAML");
  }
}

/** Checks that a value given as text is of its default's type. */
function checkGiven(name: string, text: string, fallback: unknown): void {
  const field = `params.${name}`;
  if (typeof fallback === "number" && (text.trim() === "" || !Number.isFinite(Number(text)))) {
    throw bad(field, `"${text}" is no number`);
  }
  if (typeof fallback === "boolean" && text !== "true" && text !== "false") {
    throw bad(field, `"${text}" is neither true nor false`);
  }
}

/** The parameters' values: those given, else the defaults. */
function paramsOf(declared: unknown, given: Params): Params {
  const defaults = check(Type.Optional(JobFile.properties.params), declared ?? {}, "params") ?? {};
  const unknown = Object.keys(given).find((name) => !Object.hasOwn(defaults, name));
  if (unknown !== undefined) {
    const known = Object.keys(defaults).join(", ");
    throw bad(
      `params.${unknown}`,
      "the file has no such parameter",
      known === "" ? "it has none" : `it has ${known}`,
    );
  }
  const params: Record<string, string> = {};
  for (const [name, fallback] of Object.entries(defaults)) {
    const text = given[name];
    if (text === undefined && fallback === null) {
      throw bad(`params.${name}`, "has no default", `give it with -p ${name}=VALUE`);
    }
    if (text !== undefined) checkGiven(name, text, fallback);
    params[name] = text ?? String(fallback);
  }
  return params;
}

/** The document with text made a number or a boolean where the schema wants one. */
function typed(schema: TSchema, value: unknown): unknown {
  if (typeof value === "string") {
    const wanted: unknown = schema["type"];
    if (wanted === "boolean" && (value === "true" || value === "false")) return value === "true";
    const numeric = wanted === "number" || wanted === "integer";
    return numeric && value.trim() !== "" && Number.isFinite(Number(value)) ? Number(value) : value;
  }
  if (typeof value !== "object" || value === null) return value;
  const items = schema["items"] as TSchema | undefined;
  if (Array.isArray(value))
    return items === undefined ? value : value.map((item) => typed(items, item));
  const properties = (schema["properties"] ?? {}) as Record<string, TSchema>;
  const [others] = Object.values((schema["patternProperties"] ?? {}) as Record<string, TSchema>);
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => {
      const rule = properties[name] ?? others;
      return [name, rule === undefined ? item : typed(rule, item)];
    }),
  );
}

/** The document with every `${param.NAME}` replaced. */
export function withParams(document: unknown, params: Params, root = ""): unknown {
  return mapStrings(
    document,
    (text, path) =>
      substitute(text, (reference) => {
        if (!reference.startsWith("param.")) return undefined;
        const name = reference.slice("param.".length);
        if (Object.hasOwn(params, name)) return params[name];
        const known = Object.keys(params).join(", ");
        throw bad(
          path,
          `there is no parameter "${name}"`,
          known === "" ? "declare it under params" : `known: ${known}`,
        );
      }),
    root,
  );
}

/** An object of the file with names and units of the spec. */
function canonical(object: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(object).map(([name, value]) => {
      const [to, unit] = units[name] ?? [name];
      if (unit === "duration") return [to, durationMs(String(value))];
      if (unit === "size") return [to, sizeBytes(String(value))];
      if (unit === "text") return [to, Buffer.from(String(value)).toString("base64")];
      const below = name === "resources" || name === "retries" || name === "mock";
      return [to, below ? canonical(value as Record<string, unknown>) : value];
    }),
  );
}

/** `spec.tasks.count.task.timeoutMs` → `tasks.count.timeout`: a field of the spec as the file has it. */
export function fileField(field: string): string {
  return field
    .replace(/^spec\./, "")
    .replace(/^(tasks\.[^.]+)\.task(?=\.|$)/, "$1")
    .split(".")
    .map((part) => fileNames.get(part) ?? part)
    .join(".");
}

/** A fault about a spec as one about the file that it came from. */
export function fileFault(fault: Fault): Fault {
  if (fault.field === undefined || fault.code !== "invalid_argument") return fault;
  const field = fileField(fault.field);
  return new Fault(fault.code, fault.message.replace(`${fault.field}:`, `${field}:`), {
    field,
    ...(fault.help === undefined ? {} : { help: fault.help }),
  });
}

/** What a job file asks for: a job, and when it is submitted if that is not now. */
export interface Filed {
  spec: JobSpec;
  schedule?: Static<typeof ScheduleTimes>;
}

/**
 * What a job file asks for. `given` are parameters as on a command line.
 * Throws `invalid_argument` with the path in the file.
 */
export function readJobFile(document: unknown, given: Params = {}): Filed {
  if (typeof document !== "object" || document === null || Array.isArray(document)) {
    throw new Fault("invalid_argument", "the job is no mapping with name and tasks");
  }
  const { params: declared, ...rest } = document as Record<string, unknown>;
  const params = paramsOf(declared, given);
  const { schedule, ...file } = check(JobFile, typed(JobFile, withParams(rest, params)));
  const spec = {
    ...canonical(file),
    tasks: Object.fromEntries(
      Object.entries(file.tasks).map(([name, { replicas, dependsOn, system, ...task }]) => [
        name,
        {
          task: canonical(task),
          ...(replicas === undefined ? {} : { replicas }),
          ...(dependsOn === undefined ? {} : { dependsOn }),
          ...(system === undefined ? {} : { system }),
        },
      ]),
    ),
    ...(Object.keys(params).length === 0 ? {} : { params }),
  };
  try {
    return { spec: checkJobSpec(spec, ""), ...(schedule === undefined ? {} : { schedule }) };
  } catch (error) {
    throw fileFault(Fault.from(error));
  }
}

/** The spec of a job file without a schedule; see readJobFile. */
export function jobFromFile(document: unknown, given: Params = {}): JobSpec {
  const { spec, schedule } = readJobFile(document, given);
  if (schedule === undefined) return spec;
  throw bad("schedule", "a job is submitted once", "put it as a schedule instead");
}

/** JSON Schema (draft 2020-12) of job files for editors: a number may also be a `${param.…}`. */
export function editorSchema(): unknown {
  const parameter = { type: "string", pattern: "^\\$\\{param\\.[A-Za-z_][A-Za-z0-9_-]*\\}$" };
  const visit = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(visit);
    if (typeof value !== "object" || value === null) return value;
    const { $id: _, errorMessage: __, ...kept } = value as Record<string, unknown>;
    const copy = Object.fromEntries(Object.entries(kept).map(([key, item]) => [key, visit(item)]));
    const scalar =
      copy["type"] === "number" || copy["type"] === "integer" || copy["type"] === "boolean";
    if (!scalar || !(Kind in value)) return copy;
    const { description, ...rule } = copy;
    return { ...(description === undefined ? {} : { description }), anyOf: [rule, parameter] };
  };
  return { $schema: "https://json-schema.org/draft/2020-12/schema", ...(visit(JobFile) as object) };
}
