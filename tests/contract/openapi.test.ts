/** The committed OpenAPI documents are valid, by a validator that is not ours. */
import { expect, test } from "bun:test";
import { Validator } from "@seriousme/openapi-schema-validator";
import { programs, readOpenApi } from "./operations.ts";

test.each([...programs])("the document of %s is valid OpenAPI 3.1", async (program) => {
  const validator = new Validator();
  const { valid, errors } = await validator.validate({ ...readOpenApi(program) });
  expect(errors).toBeUndefined();
  expect(valid).toBe(true);
  expect(validator.version).toBe("3.1");
});

test.each([...programs])("every operation of %s is named and described", (program) => {
  const operations = Object.values(readOpenApi(program).paths).flatMap((item) =>
    Object.values(item),
  );
  const ids = operations.map(({ operationId }) => operationId);
  expect(new Set(ids).size).toBe(ids.length);
  for (const { operationId, summary, tags } of operations) {
    expect({ operationId, summary: summary?.endsWith(".") }).toMatchObject({ summary: true });
    expect(tags).toHaveLength(1);
  }
});

/** Statuses whose answer has no body, beside HEAD's. */
const bodiless = /^(?:101|204|304)$/;

test.each([...programs])("every operation of %s says what it takes and gives", (program) => {
  for (const [path, item] of Object.entries(readOpenApi(program).paths)) {
    for (const [method, { parameters = [], responses = {} }] of Object.entries(item)) {
      const operation = `${method} ${path}`;
      const declared = parameters.filter((each) => each.in === "path").map(({ name }) => name);
      const placed = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name ?? "");
      expect({ operation, declared }).toEqual({ operation, declared: placed });
      const good = Object.entries(responses).filter(([status]) => /^[123]/.test(status));
      expect({ operation, answers: good.length > 0 }).toEqual({ operation, answers: true });
      const bare = good.filter(
        ([status, { content }]) =>
          method !== "head" && !bodiless.test(status) && content === undefined,
      );
      expect({ operation, bare: bare.map(([status]) => status) }).toEqual({ operation, bare: [] });
    }
  }
});

test("a document that is not valid is refused", async () => {
  const document = readOpenApi("sms");
  document.paths["/v1/tasks"] = { post: { responses: { 201: {} } } };
  expect((await new Validator().validate({ ...document })).valid).toBe(false);
});
