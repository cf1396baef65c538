/** `bun run bench NAME… [--short] [--objects N] [--json]`: runs benchmarks and prints what they measured. */
import { parseArgs } from "node:util";
import { type How, type Measure, show } from "./measure.ts";

const benches: Record<string, () => Promise<{ run(how: How): Promise<Measure[]> }>> = {
  "agents-docker": () => import("./agents-docker.ts"),
  "agents-process": () => import("./agents-process.ts"),
  "agents-wasm": () => import("./agents-wasm.ts"),
  backlog: () => import("./backlog.ts"),
  heartbeats: () => import("./heartbeats.ts"),
  hostcalls: () => import("./hostcalls.ts"),
  scheduling: () => import("./scheduling.ts"),
  store: () => import("./store.ts"),
  "store-many": () => import("./store-many.ts"),
  tasks: () => import("./tasks.ts"),
};

function usage(problem: string): never {
  process.stderr.write(
    `${problem}Usage: bun run bench NAME… [--short] [--objects N] [--json]\nBenchmarks: ${Object.keys(benches).join(", ")}\n`,
  );
  process.exit(2);
}

function parse() {
  const options = {
    short: { type: "boolean" },
    json: { type: "boolean" },
    objects: { type: "string" },
  } as const;
  try {
    return parseArgs({ options, allowPositionals: true });
  } catch (error) {
    return usage(`error: ${(error as Error).message}\n`);
  }
}

const { values: flags, positionals: names } = parse();
const unknown = names.find((name) => !(name in benches));
if (unknown !== undefined) usage(`error: there is no benchmark ${unknown}\n`);
if (names.length === 0) usage("");
if (!/^\d{1,9}$/.test(flags.objects ?? "0")) usage("error: --objects: must be a number\n");
const how = {
  short: flags.short ?? false,
  ...(flags.objects === undefined ? {} : { objects: Number(flags.objects) }),
};
for (const name of names) {
  const bench = await benches[name]?.();
  if (bench !== undefined) process.stdout.write(show(await bench.run(how), flags.json ?? false));
}
process.exit(0);
