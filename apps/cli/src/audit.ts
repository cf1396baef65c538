/** `spear task audit`: what a task asked of its nodes, and the grants that would have done. */
import type { Audit, HostcallUse } from "@spear/shared/audit.ts";
import type { Command } from "commander";
import { type Column, plain, renderTable, visible } from "./output.ts";
import { sessionOf } from "./session.ts";
import { formatBytes, parseIdOf } from "./values.ts";

type Row = HostcallUse & { attempt: number };

const columns: readonly Column<Row>[] = [
  ["TRY", ({ attempt }) => String(attempt)],
  ["HOSTCALL", ({ right, target }) => (target === "" ? right : `${right}:${target}`)],
  ["CALLS", ({ calls }) => String(calls)],
  ["REFUSED", ({ refused }) => (refused === 0 ? "" : String(refused))],
  ["BYTES", ({ bytes }) => (bytes === 0 ? "" : formatBytes(bytes))],
  ["GRANTED BY", ({ grant }) => grant],
];

/** Grants as they stand in a job file. */
function listed(heading: string, grants: readonly string[]): string[] {
  if (grants.length === 0) return [];
  return [
    "",
    heading,
    "hostcalls:",
    ...grants.map((grant) => `  - ${JSON.stringify(visible(grant))}`),
  ];
}

/** An audit for people. */
export function audited({ taskId, granted, proposal, missing, attempts }: Audit): string {
  const rows = attempts.flatMap(({ attempt, uses }) => uses.map((use) => ({ ...use, attempt })));
  if (rows.length === 0) {
    const rest = granted.length === 0 ? "" : `, and could do without ${granted.join(", ")}`;
    return `${taskId} has asked nothing of its node${visible(rest)}`;
  }
  return [
    renderTable(columns, rows, plain).trimEnd(),
    ...listed("The smallest grants that would have done:", proposal),
    ...listed("Refused; grant these too if they were meant:", missing),
  ].join("\n");
}

export function addAudit(task: Command): void {
  task
    .command("audit")
    .summary("show what a task asked of its node, and the grants that would do")
    .argument("<id>", "task_…", parseIdOf("task"))
    .action(async (id: string, _: unknown, command: Command) => {
      const { sms, output } = sessionOf(command);
      await output.item(await sms.json<Audit>("GET", `/v1/tasks/${id}/audit`), audited);
    });
}
