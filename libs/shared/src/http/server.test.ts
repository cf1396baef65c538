import { expect, test } from "bun:test";
import { Type } from "@sinclair/typebox";
import { Elysia, t } from "elysia";
import type { Problem } from "../fault.ts";
import { silentLog } from "../log.ts";
import { Metrics } from "../metrics.ts";
import type { OpenApi } from "./openapi.ts";
import { createHttp } from "./server.ts";

const Thing = Type.Object({ name: Type.String() }, { $id: "Thing", additionalProperties: false });
const closed = { additionalProperties: false };

const routes = new Elysia()
  .model({ Thing })
  .get("/v1/things", ({ query }) => query, {
    query: t.Object(
      {
        pageSize: t.Optional(t.Integer({ minimum: 1, maximum: 1_000 })),
        pageToken: t.Optional(t.String()),
        state: t.Optional(t.Array(t.Union([t.Literal("old"), t.Literal("new")]))),
        deep: t.Optional(t.Boolean()),
      },
      closed,
    ),
    detail: { operationId: "listThings" },
  })
  .get("/v1/things/:id/parts/:part", ({ params }) => params, {
    params: t.Object({ id: t.String(), part: t.Integer({ minimum: 1 }) }),
  })
  .post("/v1/things", ({ body }) => body, {
    body: Type.Ref(Thing),
    response: { 200: Type.Ref(Thing) },
  })
  .get("/v1/buckets/:bucket/objects/*", ({ params }) => params, {
    params: t.Object({ bucket: t.String(), "*": t.String({ description: "Key." }) }),
  })
  .ws("/v1/events", { query: t.Object({ after: t.Optional(t.Integer()) }) })
  .get("/v1/broken", () => {
    throw new Error("password: hunter2");
  });

const maxBodyBytes = 1_000;
const metrics = new Metrics("things", "1");
const app = createHttp(
  {
    title: "Things",
    description: "For tests.",
    version: "1",
    log: silentLog,
    maxBodyBytes,
    metrics,
    ready: () => Promise.resolve({ redis: true as const, store: "does not answer" }),
  },
  [routes],
);

function send(path: string, init?: RequestInit): Promise<Response> {
  return app.handle(new Request(`http://localhost${path}`, init));
}

async function problem(path: string, init?: RequestInit): Promise<Problem> {
  const response = await send(path, init);
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  const body = (await response.json()) as Problem;
  expect(body.status).toBe(response.status);
  return body;
}

const post = (body: string, type = "application/json"): RequestInit => ({
  method: "POST",
  headers: { "content-type": type, "content-length": String(body.length) },
  body,
});

test.each([
  ["/v1/things?pageSize=0", "query.pageSize", "expected integer to be greater or equal to 1"],
  ["/v1/things?pageSize=1001", "query.pageSize", "expected integer to be less or equal to 1000"],
  ["/v1/things?pageSize=1.5", "query.pageSize", "expected integer"],
  ["/v1/things?pageSize=many", "query.pageSize", "expected integer"],
  ["/v1/things?pageSize=", "query.pageSize", "expected integer"],
  ["/v1/things?deep=maybe", "query.deep", "expected boolean"],
  ["/v1/things?state=odd", "query.state.0", "must be one of old, new"],
  ["/v1/things?state=old&state=odd", "query.state.1", "must be one of old, new"],
  ["/v1/things?pagesize=1", "query.pagesize", "unknown field"],
  ["/v1/things/a/parts/0", "params.part", "expected integer to be greater or equal to 1"],
  ["/v1/things/a/parts/b", "params.part", "expected integer"],
])("%s names %s", async (path, field, said) => {
  expect(await problem(path)).toMatchObject({
    code: "invalid_argument",
    field,
    detail: `${field}: ${said}`,
  });
});

test("good queries are read as their types", async () => {
  const response = await send("/v1/things?pageSize=7&deep=true&state=old&state=new");
  expect(await response.json()).toEqual({ pageSize: 7, deep: true, state: ["old", "new"] });
  expect(await (await send("/v1/things?state=old")).json()).toEqual({ state: ["old"] });
});

test.each([
  ['{"name": 1}', "name"],
  ['{"name": "x", "age": 1}', "age"],
  ["{}", "name"],
  ["[]", undefined],
  ["{", "body"],
])("the body %s is refused", async (body, field) => {
  const { code, field: named } = await problem("/v1/things", post(body));
  expect({ code, field: named }).toEqual({ code: "invalid_argument", field });
});

test("a body over the limit is refused before it is parsed", async () => {
  const { code, help } = await problem("/v1/things", post(" ".repeat(maxBodyBytes + 1)));
  expect(code).toBe("payload_too_large");
  expect(help).toContain(String(maxBodyBytes));
});

test("an unknown path and an unknown failure say nothing of the inside", async () => {
  expect(await problem("/v1/nothing")).toMatchObject({ code: "not_found", status: 404 });
  const internal = await problem("/v1/broken");
  expect(internal).toMatchObject({ code: "internal", status: 500 });
  expect(JSON.stringify(internal)).not.toContain("hunter2");
});

test("readiness names the part that does not answer", async () => {
  const response = await send("/readyz");
  expect(response.status).toBe(503);
  expect(await response.json()).toEqual({
    ready: false,
    parts: { redis: true, store: "does not answer" },
  });
});

test("the document shows plain types, arrays, wildcards, WebSockets and references", async () => {
  const document = (await (await send("/openapi.json")).json()) as OpenApi;
  const parameters = (path: string) => document.paths[path]?.["get"]?.parameters ?? [];
  const schemas = Object.fromEntries(parameters("/v1/things").map((p) => [p.name, p.schema]));
  expect(schemas["pageSize"]).toEqual({ type: "integer", minimum: 1, maximum: 1_000 });
  expect(schemas["deep"]).toEqual({ type: "boolean" });
  expect(schemas["state"]).toMatchObject({ type: "array" });
  expect(
    parameters("/v1/buckets/{bucket}/objects/{key}").map(({ name, in: place, required }) => ({
      name,
      place,
      required,
    })),
  ).toEqual([
    { name: "bucket", place: "path", required: true },
    { name: "key", place: "path", required: true },
  ]);
  expect(document.paths["/v1/events"]?.["get"]?.responses?.["101"]).toBeDefined();
  expect(document.paths["/v1/things"]?.["post"]?.requestBody).toEqual({
    required: true,
    content: { "application/json": { schema: { $ref: "#/components/schemas/Thing" } } },
  });
  expect(document.components?.["schemas"]?.["Thing"]).toMatchObject({ type: "object" });
  expect(document.paths["/docs"]).toBeUndefined();
  expect(document.info).toMatchObject({ title: "Things", version: "1" });
});

test("the UI needs nothing from elsewhere", async () => {
  const page = await (await send("/docs")).text();
  const links = [...page.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link]) => link ?? "");
  expect(links.length).toBeGreaterThan(0);
  for (const link of links) expect((await send(link)).status).toBe(200);
});

test("requests are timed by route and status, and what can't be read hides nothing else", async () => {
  metrics.gauge("things_held", "Things.", ["kind"], () => [[{ kind: "red" }, 3]]);
  metrics.gauge("things_lost", "Never read.", [], () => Promise.reject(new Error("away")));
  await send("/v1/buckets/b/objects/a/b");
  await send("/v1/broken");
  await send("/v1/nowhere");
  // A request is counted when its answer has gone, which is a moment later.
  let text = "";
  while (!(text.includes('route="/v1/broken"') && text.includes("unread_total{"))) {
    await new Promise((resolve) => setImmediate(resolve));
    const response = await send("/metrics");
    expect(response.headers.get("content-type")).toStartWith("text/plain");
    text = await response.text();
  }
  expect(text).toContain('things_held{kind="red"} 3');
  expect(text).not.toContain("things_lost 0");
  expect(text).toContain('spear_metrics_unread_total{metric="things_lost"} 1');
  for (const [route, status] of [
    ["/v1/buckets/:bucket/objects/*", 200],
    ["/v1/broken", 500],
    ["", 404],
  ]) {
    expect(text).toContain(
      `spear_http_request_seconds_count{method="GET",route="${route}",status="${status}"}`,
    );
  }
});
