/** `bun run bench NAME… [--short] [--json]`: runs benchmarks and prints what they measured. */
import { type Measure, show } from "./measure.ts";

const benches: Record<string, () => Promise<{ run(how: { short: boolean }): Promise<Measure[]> }>> =
  {
    "agents-docker": () => import("./agents-docker.ts"),
    "agents-process": () => import("./agents-process.ts"),
    "agents-wasm": () => import("./agents-wasm.ts"),
    backlog: () => import("./backlog.ts"),
    heartbeats: () => import("./heartbeats.ts"),
    scheduling: () => import("./scheduling.ts"),
    tasks: () => import("./tasks.ts"),
  };

const names = process.argv.slice(2).filter((argument) => !argument.startsWith("--"));
const unknown = names.find((name) => !(name in benches));
if (names.length === 0 || unknown !== undefined) {
  process.stderr.write(
    `${unknown === undefined ? "" : `error: there is no benchmark ${unknown}\n`}Usage: bun run bench NAME… [--short] [--json]\nBenchmarks: ${Object.keys(benches).join(", ")}\n`,
  );
  process.exit(2);
}
for (const name of names) {
  const bench = await benches[name]?.();
  if (bench !== undefined)
    process.stdout.write(
      show(
        await bench.run({ short: process.argv.includes("--short") }),
        process.argv.includes("--json"),
      ),
    );
}
process.exit(0);
