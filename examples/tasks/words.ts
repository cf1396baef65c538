/**
 * Counts words: those of its arguments' files, or of its standard input. A task in
 * TypeScript, as a WebAssembly component.
 *
 *   spear build examples/tasks/words.ts
 *   echo 'to be or not to be' | spear run --interactive --wasm words.wasm
 */
import { readFileSync } from "node:fs";

function wordsOf(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}

/** Called with the arguments; a number is the exit code. */
export function main(paths: string[]): number {
  const texts =
    paths.length === 0
      ? [readFileSync("/dev/stdin", "utf8")]
      : paths.map((path) => readFileSync(path, "utf8"));
  const counts = new Map<string, number>();
  for (const word of texts.flatMap(wordsOf)) counts.set(word, (counts.get(word) ?? 0) + 1);
  for (const [word, count] of [...counts].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    console.log(`${count} ${word}`);
  }
  return counts.size === 0 ? 1 : 0;
}
