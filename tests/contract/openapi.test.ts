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

test("a document that is not valid is refused", async () => {
  const document = readOpenApi("sms");
  document.paths["/v1/tasks"] = { post: { responses: { 201: {} } } };
  expect((await new Validator().validate({ ...document })).valid).toBe(false);
});
