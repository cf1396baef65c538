/**
 * Real text for the demo: what the repository, its npm packages and Debian ship
 * for people to read. Nothing is made up and nothing is downloaded for it. The
 * same machine gives the same text every time.
 */
import { Fault } from "@spear/shared/fault.ts";
import { readdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";

/** Text is gathered until there is this much, in bytes. */
const wantedBytes = 4 << 20;
const leastBytes = 1 << 20;
const readable = /^(readme|changelog|history|licen[cs]e|notice|copying)([.-].*)?$/i;
const repository = resolve(import.meta.dir, "../../../..");

/** Names in a directory, sorted; none if there is no such directory. */
async function namesIn(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).toSorted();
  } catch {
    return [];
  }
}

async function* texts(): AsyncGenerator<string> {
  for (const directory of [repository, join(repository, "docs")]) {
    for (const name of await namesIn(directory)) {
      if (name.endsWith(".md") || name === "LICENSE") yield join(directory, name);
    }
  }
  const packages = join(repository, "node_modules");
  for (const name of await namesIn(packages)) {
    const scoped = name.startsWith("@") ? await namesIn(join(packages, name)) : [""];
    for (const inner of scoped) {
      const directory = join(packages, name, inner);
      for (const file of await namesIn(directory)) {
        if (readable.test(file)) yield join(directory, file);
      }
    }
  }
  for (const name of await namesIn("/usr/share/common-licenses")) {
    yield join("/usr/share/common-licenses", name);
  }
  for (const name of await namesIn("/usr/share/doc")) {
    yield join("/usr/share/doc", name, "copyright");
  }
}

export interface Corpus {
  /** The files one after the other, each ending with a line feed. */
  text: Buffer;
  /** How many files it was taken from. */
  files: number;
}

/** Gathers it. Throws `unavailable` if the machine has hardly any text. */
export async function gatherCorpus(): Promise<Corpus> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const path of texts()) {
    const text = await readFile(path).catch(() => undefined);
    if (text === undefined || text.length === 0) continue;
    const piece = text.at(-1) === 10 ? text : Buffer.concat([text, Buffer.from("\n")]);
    pieces.push(piece);
    bytes += piece.length;
    if (bytes >= wantedBytes) break;
  }
  if (bytes < leastBytes) {
    throw new Fault("unavailable", `only ${bytes} bytes of text were found on this machine`, {
      help: "run ./spear once so that the npm packages are there",
    });
  }
  return { text: Buffer.concat(pieces), files: pieces.length };
}

/** Cuts a text into `count` parts of about equal size, at ends of lines. */
export function partsOf(text: Buffer, count: number): Buffer[] {
  const parts: Buffer[] = [];
  let from = 0;
  for (let index = 1; index <= count; index += 1) {
    const aim = Math.max(from, Math.floor((text.length * index) / count));
    const lineEnd = index === count ? -1 : text.indexOf(10, aim);
    const to = lineEnd < 0 ? text.length : lineEnd + 1;
    parts.push(text.subarray(from, to));
    from = to;
  }
  return parts;
}

/** The same count that the tasks make, made here: word → how often. */
export function countWords(text: Buffer): Map<string, number> {
  const counts = new Map<string, number>();
  for (const [word] of text.toString("latin1").matchAll(/[A-Za-z]+/g)) {
    const lower = word.toLowerCase();
    counts.set(lower, (counts.get(lower) ?? 0) + 1);
  }
  return counts;
}

/** The lines of `merge.sh` as word → count. Throws `internal` for any other line. */
export function parseCounts(text: string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const found = /^(\d+) ([a-z]+)$/.exec(line);
    if (found === null) throw new Fault("internal", `the result has the line "${line}"`);
    counts.set(found[2] ?? "", Number(found[1]));
  }
  return counts;
}
