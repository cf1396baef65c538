/** What every program offers to its operators over REST. */
import { expect } from "bun:test";
import type { Cases } from "../cases.ts";
import type { ProgramName } from "../operations.ts";

/** Metrics that a program that has done something shows. */
const shown: Record<ProgramName, string[]> = {
  sms: ["spear_tasks", "spear_nodes", "spear_queue_depth", "spear_task_phase_seconds_count"],
  spearlet: ["spear_runtime", "spear_connected", "spear_reports_pending"],
  store: ["spear_store_free_bytes", "spear_http_request_seconds_count"],
};

export const operational = (program: ProgramName): Cases => ({
  "GET /healthz": async ({ world }) => {
    expect(await world.ok(program, "GET /healthz")).toEqual({ status: "ok" });
  },
  "GET /readyz": async ({ world }) => {
    expect(await world.ok(program, "GET /readyz")).toMatchObject({ ready: true });
  },
  "GET /metrics": async ({ world }) => {
    const response = await fetch(world.url(program, "GET /metrics"));
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toStartWith("text/plain; version=0.0.4");
    const lines = (await response.text()).split("\n").filter((line) => line !== "");
    // As the format has it: # HELP, # TYPE, and name{labels} value.
    for (const line of lines) {
      expect(line).toMatch(
        /^(# (HELP|TYPE) |[a-z_]+(\{([a-z]+="[^"]*",?)+\})? (-?[\d.e+-]+|NaN|\+Inf)$)/,
      );
    }
    expect(lines).toContainEqual(expect.stringContaining(`program="${program}"`));
    expect(lines.filter((line) => line.startsWith("spear_metrics_unread_total"))).toEqual([]);
    for (const name of shown[program]) {
      expect(lines.some((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))).toBe(
        true,
      );
    }
  },
});
