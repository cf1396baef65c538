/**
 * How the child is started: by the same executable that runs SPEARlet. From
 * source that is Bun with the child's file; in a compiled executable there is
 * no such file, and the command line's first word selects the child instead.
 */

/** First word of a compiled executable's command line that makes it the child. */
export const childWord = "wasm-child";

const insideExecutable = import.meta.path.startsWith("/$bunfs/");

/**
 * The command line of a child whose parent is this process. Neither settings
 * nor packages of whatever directory it stands in may reach it.
 */
export function childCommand(): string[] {
  const parent = String(process.pid);
  if (insideExecutable) return [process.execPath, childWord, parent];
  const child = new URL("./child.ts", import.meta.url).pathname;
  return [process.execPath, "--no-install", "--no-env-file", child, parent];
}
