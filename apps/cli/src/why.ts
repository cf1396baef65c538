/** `spear task why`: what a task waits for, or why it is where it is. */
import type { Explanation } from "@spear/shared/explanation.ts";
import type { Command } from "commander";
import { type Column, plain, renderTable, visible } from "./output.ts";
import { sessionOf } from "./session.ts";
import { parseIdOf } from "./values.ts";

/** Nodes that are shown; the rest is counted. */
const shownNodes = 20;

type Verdict = Explanation["nodes"][number];

const sum = ({ score }: Verdict) => Object.values(score).reduce((total, part) => total + part, 0);
const parts = ({ score }: Verdict) =>
  Object.entries(score)
    .filter(([, points]) => points !== 0)
    .map(([name, points]) => `${name} ${points}`)
    .join(", ");

const columns: readonly Column<Verdict>[] = [
  ["NODE", ({ name }) => name],
  ["", ({ chosen, reasons }) => (chosen ? "chosen" : reasons.length === 0 ? "fits" : "")],
  ["POINTS", (verdict) => (verdict.reasons.length === 0 ? String(sum(verdict)) : "")],
  [
    "WHY",
    (verdict) => (verdict.reasons.length === 0 ? parts(verdict) : verdict.reasons.join("; ")),
  ],
];

/** An explanation for people. */
export function explained({ taskId, state, summary, changes, nodes }: Explanation): string {
  const lines = [`${taskId} is ${state}: ${visible(summary)}`];
  if (changes.length > 0)
    lines.push("It would be placed now with", ...changes.map((one) => `  ${visible(one)}`));
  const table = nodes.length === 0 ? "" : renderTable(columns, nodes.slice(0, shownNodes), plain);
  const rest = nodes.length - shownNodes;
  return `${lines.join("\n")}\n${table}${rest > 0 ? `and ${rest} more nodes\n` : ""}`.trimEnd();
}

export function addWhy(task: Command): void {
  task
    .command("why")
    .summary("tell why a task waits, or why it is where it is")
    .argument("<id>", "task_…", parseIdOf("task"))
    .action(async (id: string, _: unknown, command: Command) => {
      const { sms, output } = sessionOf(command);
      await output.item(await sms.json<Explanation>("GET", `/v1/tasks/${id}/why`), explained);
    });
}
