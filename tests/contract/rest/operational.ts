/** What every program offers to its operators over REST. */
import { expect } from "bun:test";
import type { Cases } from "../cases.ts";
import type { ProgramName } from "../operations.ts";

export const operational = (program: ProgramName): Cases => ({
  "GET /healthz": async ({ world }) => {
    expect(await world.ok(program, "GET /healthz")).toEqual({ status: "ok" });
  },
  "GET /readyz": async ({ world }) => {
    expect(await world.ok(program, "GET /readyz")).toMatchObject({ ready: true });
  },
});
