/**
 * Every REST operation of every program is called and answers as its document
 * says. An operation without a case fails by its name.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Fixture, type Cases } from "./cases.ts";
import { programs, restOperations, type ProgramName } from "./operations.ts";
import { smsRest } from "./rest/sms.ts";
import { spearletRest } from "./rest/spearlet.ts";
import { storeRest } from "./rest/store.ts";
import type { Json } from "./world.ts";

const cases: Record<ProgramName, Cases> = {
  sms: smsRest,
  spearlet: spearletRest,
  store: storeRest,
};

let fixture: Fixture;
beforeAll(async () => {
  fixture = await Fixture.start();
});
afterAll(() => fixture[Symbol.asyncDispose]());

describe.each([...programs])("%s", (program) => {
  const offered = restOperations(program);

  test.each(offered)("%s", async (operation) => {
    const run = cases[program][operation];
    if (run === undefined) throw new Error(`no contract test for ${program}: ${operation}`);
    await run(fixture);
  });

  test("every case is of an operation", () => {
    expect(Object.keys(cases[program]).filter((name) => !offered.includes(name))).toEqual([]);
  });

  test("the running document is the committed one", async () => {
    const { paths } = await fixture.world.ok(program, "GET /openapi.json");
    const operations = Object.entries(paths as Json).flatMap(([path, item]) =>
      Object.keys(item as Json).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(operations).toEqual(offered);
  });
});
