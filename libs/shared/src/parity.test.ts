/**
 * The schemas of the nouns and the messages of the protos say the same: the same
 * fields, of the same types, all the way down.
 */
import { expect, test } from "bun:test";
import { ScalarType, type DescEnum, type DescField, type DescMessage } from "@bufbuild/protobuf";
import type { TSchema } from "@sinclair/typebox";
import { descriptors } from "./grpc/descriptors.ts";
import { Job, JobSpec } from "./job.ts";
import { Node } from "./node.ts";
import { Schedule, ScheduleSpec } from "./schedule.ts";
import { Event, Task, TaskSpec } from "./task.ts";

const named: Record<string, TSchema> = { JobSpec, ScheduleSpec, TaskSpec };

/** JSON's type of a proto scalar; bytes travel as base64. */
const scalarTypes: Partial<Record<ScalarType, string>> = {
  [ScalarType.BOOL]: "boolean",
  [ScalarType.BYTES]: "string",
  [ScalarType.DOUBLE]: "number",
  [ScalarType.INT32]: "integer",
  [ScalarType.INT64]: "integer",
  [ScalarType.STRING]: "string",
};

function literalsOf(schema: TSchema): string[] | undefined {
  const choices = schema["anyOf"] as TSchema[] | undefined;
  return choices?.map((choice) => String(choice["const"]));
}

/** `TASK_STATE_TIMED_OUT` → `timed_out`, for each value but the unset one. */
function namesOf(description: DescEnum): string[] {
  return description.values
    .filter(({ number }) => number !== 0)
    .map(({ localName }) => localName.toLowerCase());
}

interface Element {
  message: DescMessage | undefined;
  enum: DescEnum | undefined;
  scalar: ScalarType | undefined;
}

/** The schema of the value, where undefined is the other choice. */
function withoutUndefined(schema: TSchema): TSchema {
  const choices = (schema["anyOf"] ?? []) as TSchema[];
  const [value, ...others] = choices.filter(({ type }) => type !== "undefined");
  return value !== undefined && others.length === 0 ? value : schema;
}

function compareElement(given: TSchema, element: Element, path: string): string[] {
  const schema = withoutUndefined(given);
  const literals = literalsOf(schema);
  if (element.message !== undefined) return compare(schema, element.message, path);
  if (element.enum !== undefined) {
    const names = namesOf(element.enum);
    return literals?.join() === names.join()
      ? []
      : [`${path}: ${literals?.join()} is not ${names.join()}`];
  }
  const wanted = element.scalar === undefined ? undefined : scalarTypes[element.scalar];
  const said = literals === undefined ? (schema["type"] as string) : "string";
  return said === wanted ? [] : [`${path}: ${said} is not ${wanted}`];
}

function compareField(schema: TSchema, field: DescField, path: string): string[] {
  const element = { message: field.message, enum: field.enum, scalar: field.scalar };
  switch (field.fieldKind) {
    case "list":
      return schema["type"] === "array"
        ? compareElement(schema["items"] as TSchema, element, `${path}[]`)
        : [`${path}: is a list in the proto`];
    case "map": {
      const values = Object.values((schema["patternProperties"] ?? {}) as Record<string, TSchema>);
      return values[0] === undefined
        ? [`${path}: is a map in the proto`]
        : compareElement(values[0], element, `${path}{}`);
    }
    default:
      return compareElement(schema, element, path);
  }
}

/** What differs between an object's schema and a message. */
function compare(schema: TSchema, message: DescMessage, path: string): string[] {
  const target = named[schema["$ref"] as string] ?? schema;
  const properties = (target["properties"] ?? {}) as Record<string, TSchema>;
  const fields = new Map(message.fields.map((field) => [field.jsonName, field]));
  const extra = Object.keys(properties).filter((name) => !fields.has(name));
  return [
    ...extra.map((name) => `${path}.${name}: not in ${message.typeName}`),
    ...[...fields].flatMap(([name, field]) => {
      const property = properties[name];
      return property === undefined
        ? [`${path}.${name}: not in the schema`]
        : compareField(property, field, `${path}.${name}`);
    }),
  ];
}

function messageOf(name: string): DescMessage {
  const message =
    descriptors.getMessage(`spear.common.v1.${name}`) ??
    descriptors.getMessage(`spear.sms.v1.${name}`);
  if (message === undefined) throw new Error(`no message ${name}`);
  return message;
}

test.each([
  ["TaskSpec", TaskSpec],
  ["Task", Task],
  ["Event", Event],
  ["Node", Node],
  ["JobSpec", JobSpec],
  ["Job", Job],
  ["ScheduleSpec", ScheduleSpec],
  ["Schedule", Schedule],
] as const)("%s is the same in the schema and in the proto", (name, schema) => {
  expect(compare(schema, messageOf(name), name)).toEqual([]);
});

test("a difference is found", () => {
  const { attempt: _, ...properties } = Event.properties;
  const altered = {
    ...Event,
    properties: { ...properties, seq: { type: "string" }, extra: { type: "string" } },
  } as unknown as TSchema;
  expect(compare(altered, messageOf("Event"), "Event").toSorted()).toEqual([
    "Event.attempt: not in the schema",
    "Event.extra: not in spear.common.v1.Event",
    "Event.seq: string is not integer",
  ]);
});
