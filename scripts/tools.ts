/**
 * Running the development tools from node_modules, always by the Bun that runs
 * this: they find it under the names `bun` and `node`, so that a machine without
 * Node.js checks and generates the same as one with it.
 */
import { mkdirSync, symlinkSync } from "node:fs";
import { delimiter, join } from "node:path";

/** The repository. */
export const root = join(import.meta.dir, "..");

const bin = join(root, "node_modules/.cache/spear/bin");
mkdirSync(bin, { recursive: true });
for (const name of ["bun", "node"]) {
  try {
    symlinkSync(process.execPath, join(bin, name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

export interface ToolResult {
  exitCode: number;
  /** Standard output and error, as they came. */
  output: string;
}

/** Runs a package's command, as `tool("buf", ["lint"], "libs/proto")`. */
export async function tool(name: string, args: string[], cwd = root): Promise<ToolResult> {
  const child = Bun.spawn([process.execPath, join(root, "node_modules/.bin", name), ...args], {
    cwd,
    env: { ...process.env, PATH: [bin, process.env["PATH"]].join(delimiter), NO_COLOR: "1" },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { exitCode, output: `${out}${err}`.trim() };
}
