/** `spear node`: the machines of the cluster. */
import type { Node, UsageSample } from "@spear/shared/node.ts";
import { type Command, InvalidArgumentError } from "commander";
import { addDrain } from "./drain.ts";
import { addJoinToken } from "./join-token.ts";
import type { Column } from "./output.ts";
import { sessionOf } from "./session.ts";
import { sparkline } from "./sparkline.ts";
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
  ["STATE", (node) => (node.cordoned === true ? `${node.state}, cordoned` : node.state)],
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

/** A node with what it used in the last hour. */
interface Watched extends Node {
  history: UsageSample[];
}

const historyWidth = 60;

/** The last half hour of one thing: bars, and the value now and at most. */
function course(
  history: readonly UsageSample[],
  value: (sample: UsageSample) => number,
  most: number,
  shown: (value: number) => string,
): string {
  const values = history.map(value);
  if (values.length === 0) return "";
  return `${sparkline(values, historyWidth, most)} ${shown(values.at(-1) ?? 0)}, at most ${shown(Math.max(...values))}`;
}

const amountOf = (text: string | number | undefined) => (text === undefined ? "" : String(text));

const machine = ({ facts }: Node) =>
  [
    facts.cpus === undefined ? "" : `${facts.cpus} cpus ${facts.cpuModel ?? ""}`.trim(),
    facts.memoryBytes === undefined ? "" : `${formatBytes(facts.memoryBytes)} of memory`,
    facts.diskBytes === undefined ? "" : `${formatBytes(facts.diskBytes)} of disk`,
  ]
    .filter((part) => part !== "")
    .join(", ");

/** What a drain or a cordon means for the node. */
function standing({ state, cordoned, drainUntilMs }: Node): string {
  const until = drainUntilMs === undefined ? "" : ` until ${new Date(drainUntilMs).toISOString()}`;
  return `${state}${state === "draining" ? until : ""}${cordoned === true ? ", cordoned" : ""}`;
}

const details = (node: Watched) =>
  [
    ["id", node.id],
    ["name", node.name],
    ["state", standing(node)],
    ["http", node.httpAddress],
    ["grpc", node.grpcAddress],
    ["cpu", `${amount(node.reserved.cpu)} of ${amount(node.capacity.cpu)} cores reserved`],
    [
      "memory",
      `${formatBytes(node.reserved.memoryBytes)} of ${formatBytes(node.capacity.memoryBytes)} reserved`,
    ],
    ["slots", `${node.reserved.slots} of ${node.capacity.slots} taken`],
    [
      "extras",
      Object.entries(node.capacity.extras)
        .map(([name, count]) => `${node.reserved.extras[name] ?? 0} of ${count} ${name} taken`)
        .join("\n"),
    ],
    ["in use", `${amount(node.usage.cpu)} cores, ${formatBytes(node.usage.memoryBytes)}`],
    ["load", amount(node.usage.load1)],
    ["disk free", formatBytes(node.usage.diskFreeBytes)],
    ["runtimes", node.runtimes.map(({ name, version }) => `${name} ${version}`).join("\n")],
    [
      "cpu, an hour",
      course(node.history, ({ cpu }) => cpu, node.facts.cpus ?? node.capacity.cpu, amount),
    ],
    [
      "memory",
      course(
        node.history,
        ({ memoryBytes }) => memoryBytes,
        node.facts.memoryBytes ?? node.capacity.memoryBytes,
        formatBytes,
      ),
    ],
    ["attempts", course(node.history, ({ running }) => running, node.capacity.slots, amountOf)],
    ["labels", labels(node)],
    ["host", `${node.facts.hostname}, ${node.facts.arch}`],
    ["machine", machine(node)],
    [
      "system",
      [node.facts.distribution, node.facts.os, node.facts.kernel].filter(Boolean).join(", "),
    ],
    ["version", node.facts.version],
    ["registered", new Date(node.registeredAtMs).toISOString()],
    ["seen", ago(node.lastSeenAtMs)],
  ] as const;

export function addNode(program: Command): void {
  const node = program
    .command("node")
    .summary("list, drain, cordon and label nodes")
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
      const [found, { samples }] = await Promise.all([
        sms.json<Node>("GET", `/v1/nodes/${id}`),
        sms.json<{ samples: UsageSample[] }>("GET", `/v1/nodes/${id}/usage`),
      ]);
      await output.one({ ...found, history: samples }, details);
    });
  addDrain(node);
  addJoinToken(node);
  for (const [name, undo, summary] of [
    ["cordon", false, "let nothing new onto a node; what it has goes on"],
    ["uncordon", true, "take a cordon back"],
  ] as const) {
    node
      .command(name)
      .summary(summary)
      .argument("<id>", "node_…", parseIdOf("node"))
      .action(async (id: string, _: unknown, command: Command) => {
        const { sms, output } = sessionOf(command);
        const changed = await sms.json<Node>("POST", `/v1/nodes/${id}/cordon`, { body: { undo } });
        await output.done(changed, `${changed.id} is ${standing(changed)}`);
      });
  }
  node
    .command("label")
    .summary("set and remove labels of a node")
    .description(
      "Sets labels (zone=eu) and removes them (zone-) over those that the node has of its own.\n" +
        "They outlive its restarts, and placement sees them at once.",
    )
    .argument("<id>", "node_…", parseIdOf("node"))
    .argument("<change...>", "NAME=VALUE or NAME-", collectChange)
    .action(async (id: string, change: LabelChange, _: unknown, command: Command) => {
      const { sms, output } = sessionOf(command);
      const changed = await sms.json<Node>("POST", `/v1/nodes/${id}/labels`, { body: change });
      await output.done(changed, `${changed.id} has ${labels(changed) || "no labels"}`);
    });
}

interface LabelChange {
  set: Record<string, string>;
  remove: string[];
}

/** `zone=eu` sets a label, `zone-` removes it. */
function collectChange(text: string, before: LabelChange | undefined): LabelChange {
  const { set, remove } = before ?? { set: {}, remove: [] };
  const at = text.indexOf("=");
  if (at > 0) return { set: { ...set, [text.slice(0, at)]: text.slice(at + 1) }, remove };
  if (at < 0 && text.length > 1 && text.endsWith("-"))
    return { set, remove: [...remove, text.slice(0, -1)] };
  throw new InvalidArgumentError("Write it as NAME=VALUE or NAME-.");
}
