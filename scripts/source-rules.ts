/**
 * Rules about the sources that no tool knows:
 *   one file spells Redis keys, in which colons join the parts;
 *   no test is skipped, focused or left to do.
 */
import { Glob } from "bun";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

const keysFile = "libs/shared/src/redis/keys.ts";

/** How a key is spelled; a colon within a hash's field is none. */
const spellings = [
  // A joiner: ':' or ":meta", but not where an address is taken apart.
  /(?<!(?:ndexOf|split|With)\()(["'`]):[\w$-]*\1/g,
  // `${prefix}:${id}`, but not a host and its port.
  /`[^`\s/]*\}:(?![^`]*[pP]ort\}`)[^`\s/]*`/g,
  // "spear:seq" or "{spear}:seq".
  /(["'`])(?:spear:|\{[^\s"'`]*\}:)[^\s"'`]*\1/g,
  // redis.call('GET', 'task:…
  /redis\.p?call\(\s*["']\w+["'],\s*["'][^"']*:[^"']*["']/g,
];
const talksToRedis = /from "(?:ioredis|bullmq|@spear\/shared\/redis\/)/;

const skipped = /\b(?:test|it|describe)\.(?:skip|only|todo|skipIf|todoIf|if)\b/;

/** What breaks a rule in a source, a line for each. */
export function sourceFindings(path: string, source: string): string[] {
  const lines = source.split("\n");
  const at = (index: number, said: string) => `${path}:${index + 1}: ${said}`;
  if (path.endsWith(".test.ts")) {
    return lines.flatMap((line, index) =>
      skipped.test(line) ? [at(index, "a test is skipped, focused or left to do")] : [],
    );
  }
  const lua = path.endsWith(".lua");
  if (path === keysFile || !(lua || talksToRedis.test(source))) return [];
  const comment = lua ? /--.*$/ : /^\s*(?:\*|\/\*|\/\/).*$/;
  return lines.flatMap((line, index) =>
    spellings
      .flatMap((spelling) => line.replace(comment, "").match(spelling) ?? [])
      .map((text) => at(index, `${text} spells a Redis key, which only ${keysFile} may`)),
  );
}

/** What breaks a rule in the repository. */
export async function brokenRules(root: string): Promise<string> {
  const findings: string[] = [];
  const sources = new Glob("{apps,libs,scripts,tests,bench}/**/*.{ts,lua}");
  for await (const path of sources.scan({ cwd: root })) {
    if (/node_modules|src\/gen\/|source-rules\.test/.test(path)) continue;
    findings.push(...sourceFindings(path, await readFile(join(root, path), "utf8")));
  }
  return findings.toSorted().join("\n");
}
