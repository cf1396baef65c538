/**
 * `bun run flake PATTERN… [--runs N]`: runs test files again and again, as `bun run test`
 * does, and says how often each run failed. Ends with 1 if any did.
 */
import { parseArgs } from "node:util";
import { root } from "./tools.ts";

const usage = "Usage: bun run flake PATTERN… [--runs N]";

function parse() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { runs: { type: "string", default: "20" } },
    });
    const runs = Number(values.runs);
    if (positionals.length === 0 || !Number.isInteger(runs) || runs < 1) throw new Error(usage);
    return { patterns: positionals, runs };
  } catch (error) {
    process.stderr.write(`error: ${(error as Error).message}\n`);
    return process.exit(2);
  }
}

const { patterns, runs } = parse();
let failed = 0;
for (let run = 1; run <= runs; run++) {
  const began = performance.now();
  const child = Bun.spawn([process.execPath, "scripts/test.ts", ...patterns], {
    cwd: root,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "ignore",
  });
  const said = await new Response(child.stdout).text();
  const passed = (await child.exited) === 0;
  const seconds = ((performance.now() - began) / 1_000).toFixed(1);
  process.stdout.write(`run ${run}: ${passed ? "passed" : "FAILED"} in ${seconds} s\n`);
  if (passed) continue;
  failed++;
  process.stdout.write(said);
}
process.stdout.write(`${runs - failed} of ${runs} runs passed\n`);
process.exitCode = failed === 0 ? 0 : 1;
