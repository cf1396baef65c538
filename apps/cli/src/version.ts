/** `spear version`. */
import type { Command } from "commander";
import packageJson from "../package.json" with { type: "json" };
import { sessionOf } from "./session.ts";

export const { version } = packageJson;

export function addVersion(program: Command): void {
  program
    .command("version")
    .summary("show the versions of SPEAR and Bun")
    .action(async (_: unknown, command: Command) => {
      const { output } = sessionOf(command);
      await output.one({ version, bun: Bun.version }, (shown) => [
        ["spear", shown.version] as const,
        ["bun", shown.bun] as const,
      ]);
    });
}
