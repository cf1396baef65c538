/** `spear node`: the machines of the cluster. */
import type { Node } from "@spear/shared/node.ts";
import type { Command } from "commander";
import type { Column } from "./output.ts";
import { sessionOf } from "./session.ts";
import { formatBytes, formatDuration, parseIdOf } from "./values.ts";

const labels = (node: Node) =>
  Object.entries(node.labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(",");
const runtimes = (node: Node) => node.runtimes.map(({ name }) => name).join(",");
const amount = (value: number) => String(Math.round(value * 100) / 100);
const ago = (atMs: number) => `${formatDuration(Date.now() - atMs)} ago`;

const columns: readonly Column<Node>[] = [
  ["ID", (node) => node.id],
  ["NAME", (node) => node.name],
  ["STATE", (node) => node.state],
  ["CPU", (node) => `${amount(node.reserved.cpu)}/${amount(node.capacity.cpu)}`],
  [
    "MEMORY",
    (node) => `${formatBytes(node.reserved.memoryBytes)}/${formatBytes(node.capacity.memoryBytes)}`,
  ],
  ["SLOTS", (node) => `${node.reserved.slots}/${node.capacity.slots}`],
  ["RUNTIMES", runtimes],
  ["LABELS", labels],
  ["SEEN", (node) => ago(node.lastSeenAtMs)],
];

const details = (node: Node) =>
  [
    ["id", node.id],
    ["name", node.name],
    ["state", node.state],
    ["http", node.httpAddress],
    ["grpc", node.grpcAddress],
    ["cpu", `${amount(node.reserved.cpu)} of ${amount(node.capacity.cpu)} cores reserved`],
    [
      "memory",
      `${formatBytes(node.reserved.memoryBytes)} of ${formatBytes(node.capacity.memoryBytes)} reserved`,
    ],
    ["slots", `${node.reserved.slots} of ${node.capacity.slots} taken`],
    ["in use", `${amount(node.usage.cpu)} cores, ${formatBytes(node.usage.memoryBytes)}`],
    ["load", amount(node.usage.load1)],
    ["disk free", formatBytes(node.usage.diskFreeBytes)],
    ["runtimes", node.runtimes.map(({ name, version }) => `${name} ${version}`).join("\n")],
    ["labels", labels(node)],
    ["host", `${node.facts.hostname}, ${node.facts.os}, ${node.facts.arch}`],
    ["version", node.facts.version],
    ["registered", new Date(node.registeredAtMs).toISOString()],
    ["seen", ago(node.lastSeenAtMs)],
  ] as const;

export function addNode(program: Command): void {
  const node = program
    .command("node")
    .summary("list and drain nodes")
    .description("The machines that run tasks.");
  node
    .command("ls")
    .summary("list the nodes")
    .action(async (_: unknown, command: Command) => {
      const { sms, output } = sessionOf(command);
      const { nodes } = await sms.json<{ nodes: Node[] }>("GET", "/v1/nodes");
      await output.many(nodes, columns);
    });
  node
    .command("get")
    .summary("show a node")
    .argument("<id>", "node_…", parseIdOf("node"))
    .action(async (id: string, _: unknown, command: Command) => {
      const { sms, output } = sessionOf(command);
      await output.one(await sms.json<Node>("GET", `/v1/nodes/${id}`), details);
    });
  for (const [name, undo, summary] of [
    ["drain", false, "give a node no more tasks; it finishes what it has"],
    ["undrain", true, "give a drained node tasks again"],
  ] as const) {
    node
      .command(name)
      .summary(summary)
      .argument("<id>", "node_…", parseIdOf("node"))
      .action(async (id: string, _: unknown, command: Command) => {
        const { sms, output } = sessionOf(command);
        const changed = await sms.json<Node>("POST", `/v1/nodes/${id}/drain`, { body: { undo } });
        await output.done(changed, `${changed.id} is ${changed.state}`);
      });
  }
}
