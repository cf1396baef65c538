/**
 * The OpenAPI 3.1 document of a program, from its own routes. @elysiajs/swagger
 * writes it from a copy of them, in which a wildcard has a name and a WebSocket
 * is the GET that opens it; then it is made valid: every response gets a
 * description, errors are declared once, what belongs to TypeBox or to Elysia's
 * reading of strings goes, and so do media types that no route takes.
 */
import { swagger } from "@elysiajs/swagger";
import type { TObject, TSchema } from "@sinclair/typebox";
import { Elysia, type AnyElysia } from "elysia";

export interface OpenApi {
  openapi: string;
  info: {
    title: string;
    description: string;
    version: string;
    license?: { name: string; url?: string };
  };
  paths: Record<string, Record<string, Operation>>;
  components?: Record<string, Record<string, unknown>>;
  tags?: { name: string }[];
}

export interface Operation {
  operationId?: string;
  summary?: string;
  tags?: string[];
  parameters?: { name: string; in: string; required?: boolean; schema?: unknown }[];
  requestBody?: { content: Record<string, unknown>; required?: boolean };
  responses?: Record<string, { description?: string; content?: Record<string, unknown> }>;
}

/** How a route that reads output describes its answer; SMS and SPEARlet have one each. */
export const outputResponses = {
  200: {
    description: "The output.",
    content: {
      "application/x-ndjson": { schema: { type: "string" as const } },
      "application/octet-stream": { schema: { type: "string" as const, format: "binary" } },
    },
  },
};

const problemSchema = {
  type: "object",
  description: "RFC 9457 problem details.",
  required: ["type", "title", "status", "detail", "code", "retryable"],
  properties: {
    type: { type: "string" },
    title: { type: "string" },
    status: { type: "integer" },
    detail: { type: "string" },
    code: { type: "string", description: "Code of the error table." },
    retryable: { type: "boolean" },
    field: { type: "string", description: "Path of the field at fault." },
    help: { type: "string", description: "What the caller can do." },
    errors: {
      type: "array",
      description: "All that is wrong, at most 100, if it is more than one thing.",
      items: {
        type: "object",
        required: ["field", "message"],
        properties: { field: { type: "string" }, message: { type: "string" } },
      },
    },
  },
};

const foreign = new Set(["$id", "errorMessage", "static", "params"]);

/** Formats under which Elysia lets a string stand for another type. */
const coercions = new Set(["integer", "numeric", "boolean", "ObjectString", "ArrayString"]);

/** `anyOf` of a value and of strings that are read as one, as the value alone. */
function withoutCoercion(schema: Record<string, unknown>): Record<string, unknown> {
  const { anyOf, ...rest } = schema;
  if (!Array.isArray(anyOf)) return schema;
  const choices = (anyOf as Record<string, unknown>[]).filter(
    ({ type, format }) => !(type === "string" && coercions.has(String(format))),
  );
  if (choices.length === anyOf.length) return schema;
  return choices.length === 1 ? { ...rest, ...choices[0] } : { ...rest, anyOf: choices };
}

/** A schema in JSON Schema's own words, whose `$ref`s point into the document. */
function cleaned(value: unknown, inProperties = false): unknown {
  if (Array.isArray(value)) return value.map((item) => cleaned(item));
  if (typeof value !== "object" || value === null) return value;
  const given = inProperties ? value : withoutCoercion(value as Record<string, unknown>);
  const entries = Object.entries(given)
    .filter(([key]) => inProperties || !foreign.has(key))
    .map(([key, inner]): [string, unknown] => {
      if (!inProperties && key === "$ref" && typeof inner === "string" && !inner.startsWith("#")) {
        return [key, `#/components/schemas/${inner}`];
      }
      return [key, cleaned(inner, key === "properties" && !inProperties)];
    });
  return Object.fromEntries(entries);
}

function onlyJson(content: Record<string, unknown>): Record<string, unknown> {
  const json = content["application/json"];
  return json === undefined ? content : { "application/json": json };
}

function normaliseOperation(operation: Operation): Operation {
  const responses: NonNullable<Operation["responses"]> = {};
  for (const [status, response] of Object.entries(operation.responses ?? {})) {
    // Beside these, the plugin leaves parts of the schema here.
    responses[status] = {
      description: response.description ?? (status.startsWith("2") ? "Success." : "Failure."),
      ...(response.content === undefined ? {} : { content: onlyJson(response.content) }),
    };
  }
  if (!Object.keys(responses).some((status) => /^(?:2..|101|501)$/.test(status))) {
    responses["200"] = { description: "Success." };
  }
  responses["default"] = {
    description: "Failure, as problem details.",
    content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
  };
  return {
    ...operation,
    ...(operation.requestBody === undefined
      ? {}
      : {
          requestBody: {
            ...operation.requestBody,
            content: onlyJson(operation.requestBody.content),
          },
        }),
    responses,
  };
}

function normalise(document: OpenApi): OpenApi {
  const clean = cleaned(document) as OpenApi;
  const paths: OpenApi["paths"] = {};
  for (const [path, item] of Object.entries(clean.paths).toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    paths[path] = Object.fromEntries(
      Object.entries(item).map(([method, operation]) => [method, normaliseOperation(operation)]),
    );
  }
  return {
    ...clean,
    openapi: "3.1.0",
    paths,
    components: {
      ...clean.components,
      schemas: { ...clean.components?.["schemas"], Problem: problemSchema },
    },
  };
}

interface RouteHooks {
  body?: TSchema | string;
  query?: TSchema;
  params?: TSchema;
  headers?: TSchema;
  response?: TSchema | Record<number, TSchema>;
  detail?: Record<string, unknown>;
}

/** Elysia's wildcard under the name that it has in the document. */
function withKey(params: TSchema | undefined): TSchema | undefined {
  const properties = (params as TObject | undefined)?.properties;
  if (params === undefined || properties?.["*"] === undefined) return params;
  const { "*": key, ...others } = properties;
  return { ...params, properties: { ...others, key }, required: [...Object.keys(others), "key"] };
}

const switching = { 101: { description: "Switches to WebSocket." } };

/** The routes of `app` as its document shows them. */
function described(app: AnyElysia, info: OpenApi["info"]): AnyElysia {
  const copy: AnyElysia = new Elysia().use(
    swagger({ specPath: "/openapi", excludeStaticFile: false, documentation: { info } }),
  );
  // Elysia hides its models from types, not from its plugins.
  copy.model(
    (app as unknown as { definitions: { type: Record<string, TSchema> } }).definitions.type,
  );
  for (const { method, path, hooks } of app.routes) {
    const { body, query, params, headers, response, detail } = hooks as RouteHooks;
    const opens = method === "WS";
    const shown = {
      query,
      params: withKey(params),
      headers,
      detail: opens ? { ...detail, responses: switching } : detail,
      ...(opens ? {} : { body, response }),
    };
    copy.route(
      opens ? "GET" : method,
      path.replace(/\*$/, ":key"),
      () => undefined,
      shown as object,
    );
  }
  return copy;
}

/** The valid document of a program, from its routes as they stand. */
export async function openApiOf(app: AnyElysia, info: OpenApi["info"]): Promise<OpenApi> {
  const response = await described(app, info).handle(new Request("http://localhost/openapi"));
  return normalise((await response.json()) as OpenApi);
}
