/**
 * Rules about the sources that no tool knows:
 *   one file spells Redis keys, in which colons join the parts;
 *   no test is skipped, focused or left to do.
 */
import { Glob } from "bun";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

const keysFile = "libs/shared/src/redis/keys.ts";

const literal = /'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`/g;

/** How a literal spells a key; a colon within a hash's field or within JSON is none. */
const spellings = [
  // A joiner: ':' or ":meta".
  /^:[\w$-]*$/,
  // `${prefix}:${id}`, but not a host and its port.
  /^[^\s/]*\}:(?!.*[pP]ort\}$)[^\s/]*$/,
  // "spear:seq" or "{spear}:seq".
  /^(?:spear:|\{\S*\}:)\S*$/,
];
/** What stands before a literal that takes an address apart, or before a key in Lua. */
const takesApart = /(?:ndexOf|split|With)\($/;
const calls = /redis\.p?call\(\s*["']\w+["'],\s*$/;

/** The keys that a line spells. */
function keysIn(line: string): string[] {
  return [...line.matchAll(literal)]
    .filter(({ 0: text, index }) => {
      const before = line.slice(0, index);
      const said = text.slice(1, -1);
      if (takesApart.test(before)) return false;
      return (
        spellings.some((spelling) => spelling.test(said)) ||
        (calls.test(before) && said.includes(":"))
      );
    })
    .map(([text]) => text);
}

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
    keysIn(line.replace(comment, "")).map((text) =>
      at(index, `${text} spells a Redis key, which only ${keysFile} may`),
    ),
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
