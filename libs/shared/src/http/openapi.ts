/**
 * Makes the document that @elysiajs/swagger writes a valid OpenAPI 3.1 one:
 * every response gets a description, errors are declared once, `$id` and other
 * members that belong to TypeBox go, media types that no route takes go.
 */
export interface OpenApi {
  openapi: string;
  info: Record<string, unknown>;
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
  },
};

const foreign = new Set(["$id", "errorMessage", "static", "params"]);

/** A schema without what belongs to TypeBox, and `$ref`s that point into the document. */
function cleaned(value: unknown, inProperties = false): unknown {
  if (Array.isArray(value)) return value.map((item) => cleaned(item));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value)
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
    responses[status] = {
      ...response,
      description: response.description ?? (status.startsWith("2") ? "Success." : "Failure."),
      ...(response.content === undefined ? {} : { content: onlyJson(response.content) }),
    };
  }
  if (!Object.keys(responses).some((status) => status.startsWith("2") || status === "101")) {
    responses["200"] = { description: "Success." };
  }
  responses["default"] = {
    description: "Failure, as problem details.",
    content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
  };
  return {
    ...operation,
    ...(operation.parameters === undefined
      ? {}
      : {
          // Elysia's wildcard is the rest of the path, which here is always a key.
          parameters: operation.parameters.map((parameter) =>
            parameter.name === "*" ? { ...parameter, name: "key" } : parameter,
          ),
        }),
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

export function normaliseOpenApi(document: OpenApi): OpenApi {
  const clean = cleaned(document) as OpenApi;
  const paths: OpenApi["paths"] = {};
  for (const [path, item] of Object.entries(clean.paths).toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    paths[path.replace(/\*$/, "{key}")] = Object.fromEntries(
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
