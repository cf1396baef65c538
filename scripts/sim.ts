/**
 * `bun run sim record ADDRESS >FILE`: the nodes, tasks and events of the SMS at that HTTP
 * address, as a recording. `bun run sim compare FILE`: what was recorded beside the same
 * tasks as each policy places them. `bun run sim [--seeds N] [--from N | --seed N] [--nodes N] [--tasks N] [--bug NAME]`:
 * the simulation of SMS over many seeds. Ends with 1 at the first seed that breaks an
 * invariant, printed with the shortest plan that still does.
 */
import { parseArgs } from "node:util";
import type { Bug } from "../tests/sim/memory.ts";
import { planOf, smallSize, type Size } from "../tests/sim/plan.ts";
import { compare, record } from "./sim-compare.ts";
import { report, shrink, simulate } from "../tests/sim/simulation.ts";

const [command, argument] = process.argv.slice(2);
if (command === "record" || command === "compare") {
  if (argument === undefined) {
    process.stderr.write("error: give the address of an SMS to record, or a file to compare\n");
    process.exit(2);
  }
  process.exit(await (command === "record" ? record(argument) : compare(argument)));
}

const bugs: readonly Bug[] = ["release_twice", "no_fencing", "lost_event", "no_exclusion"];

function usage(problem: string): never {
  process.stderr.write(
    `error: ${problem}\nUsage: bun run sim [--seeds N] [--from N | --seed N] [--nodes N] [--tasks N] [--bug ${bugs.join("|")}]\n`,
  );
  process.exit(2);
}

function count(text: string | undefined, fallback: number, flag: string): number {
  if (text === undefined) return fallback;
  if (!/^\d{1,9}$/.test(text)) usage(`--${flag}: "${text}" is not a whole number`);
  return Number(text);
}

const text = { type: "string" } as const;
const options = { seeds: text, from: text, seed: text, nodes: text, tasks: text, bug: text };

function parse() {
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    return usage((error as Error).message);
  }
}

/** As much goes wrong as in a small run, for each node and in time. */
function sizeOf(nodes: number, tasks: number): Size {
  const { troubles, troubleMs } = smallSize;
  const scale = Math.max(1, tasks / smallSize.tasks / Math.max(1, nodes / smallSize.nodes));
  return {
    nodes,
    tasks,
    replicas: smallSize.replicas,
    troubleMs: Math.round(troubleMs * Math.min(10, scale)),
    troubles: Math.max(1, Math.round((troubles * nodes) / smallSize.nodes)),
  };
}

const flags = parse();
const bug = bugs.find((name) => name === flags.bug);
if (flags.bug !== undefined && bug === undefined) usage(`--bug: there is no bug "${flags.bug}"`);
const first = count(flags.seed ?? flags.from, 1, "seed");
const seeds = flags.seed === undefined ? count(flags.seeds, 500, "seeds") : 1;
const size = sizeOf(
  count(flags.nodes, smallSize.nodes, "nodes"),
  count(flags.tasks, smallSize.tasks, "tasks"),
);
const started = performance.now();
let [steps, simulatedMs, acknowledged] = [0, 0, 0];
for (let seed = first; seed < first + seeds; seed++) {
  const plan = planOf(seed, size);
  const result = simulate(plan, bug);
  if (result.violation !== undefined) {
    const large = size.tasks > 1_000;
    process.stdout.write(
      `${report(large ? { plan: { ...plan, actions: [] }, result } : shrink(plan, bug))}\n`,
    );
    process.exit(1);
  }
  steps += result.steps;
  simulatedMs += result.simulatedMs;
  acknowledged += result.acknowledged;
}
const seconds = (performance.now() - started) / 1_000;
process.stdout.write(
  `${seeds} seeds clean: ${acknowledged} tasks, ${steps} steps, ${Math.round(simulatedMs / 1_000)} simulated seconds in ${seconds.toFixed(1)} s\n`,
);
