/** `spear node drain` and `undrain`. */
import { Fault } from "@spear/shared/fault.ts";
import { systemClock } from "@spear/shared/clock.ts";
import type { Node } from "@spear/shared/node.ts";
import type { Command } from "commander";
import type { Client } from "./client.ts";
import type { Output } from "./output.ts";
import { sessionOf } from "./session.ts";
import { formatDuration, parseDurationMs, parseIdOf } from "./values.ts";

const lookMs = 500;

/** How a drain stands, for people. */
export function drainLine({ id, state, reserved, drainUntilMs }: Node, nowMs: number): string {
  const { slots } = reserved;
  if (slots === 0) return `${id} is empty`;
  const left = `${slots} ${slots === 1 ? "task" : "tasks"} left on ${id}`;
  if (state !== "draining" || drainUntilMs === undefined) return left;
  const inMs = drainUntilMs - nowMs;
  return inMs > 0
    ? `${left}, what still runs in ${formatDuration(inMs)} moves`
    : `${left}, moving them`;
}

/** Shows what is left on a node until that is nothing. Throws `conflict` if it drains no more. */
async function followDrain(sms: Client, output: Output, from: Node): Promise<void> {
  let shown = -1;
  for (let node = from; ; node = await sms.json<Node>("GET", `/v1/nodes/${node.id}`)) {
    if (node.reserved.slots !== shown) {
      shown = node.reserved.slots;
      await output.item(node, (now) => drainLine(now, Date.now()));
    }
    if (shown === 0) return;
    if (node.state === "ready") {
      throw new Fault("conflict", `the drain of ${node.id} was taken back`, {
        help: `${shown} tasks are still there`,
      });
    }
    await systemClock.wait(lookMs);
  }
}

export function addDrain(node: Command): void {
  node
    .command("drain")
    .summary("give a node no more tasks; it finishes what it has")
    .description(
      "Gives a node no more tasks. It finishes what it has, up to the deadline if there is one:\n" +
        "what still runs then moves to other nodes, at no cost for its retries.",
    )
    .argument("<id>", "node_…", parseIdOf("node"))
    .option("--deadline <duration>", "how long tasks may still run there, as 30s", parseDurationMs)
    .option("-w, --wait", "show what is left until that is nothing")
    .action(
      async (id: string, options: { deadline?: number; wait?: boolean }, command: Command) => {
        const { sms, output } = sessionOf(command);
        const body = { deadlineMs: options.deadline ?? 0 };
        const changed = await sms.json<Node>("POST", `/v1/nodes/${id}/drain`, { body });
        if (options.wait === true) return followDrain(sms, output, changed);
        await output.done(changed, `${changed.id} is ${changed.state}`);
      },
    );
  node
    .command("undrain")
    .summary("give a drained node tasks again")
    .argument("<id>", "node_…", parseIdOf("node"))
    .action(async (id: string, _: unknown, command: Command) => {
      const { sms, output } = sessionOf(command);
      const body = { undo: true };
      const changed = await sms.json<Node>("POST", `/v1/nodes/${id}/drain`, { body });
      await output.done(changed, `${changed.id} is ${changed.state}`);
    });
}
