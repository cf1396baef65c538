/**
 * `spear sms|spearlet|store`: runs one program in this process. Their flags and
 * `--help` come from their configuration schemas.
 */

/** Program → its main, and what it is. */
export const programs = {
  sms: { summary: "run the control plane", load: () => import("@spear/sms/main.ts") },
  spearlet: { summary: "run a node", load: () => import("@spear/spearlet/main.ts") },
  store: { summary: "run the Object Store", load: () => import("@spear/store/main.ts") },
} as const;
export type ProgramName = keyof typeof programs;

export function isProgram(name: string | undefined): name is ProgramName {
  return name !== undefined && Object.hasOwn(programs, name);
}

/** Runs the program with these flags until it ends; it sets the exit code itself. */
export async function serve(name: ProgramName, flags: readonly string[]): Promise<void> {
  process.argv.splice(2, process.argv.length, ...flags);
  await programs[name].load();
}
