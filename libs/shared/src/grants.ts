/**
 * Grants: what a task's spec lets it ask of its node, as `object.read:corpus/*`.
 * A right without a grant is denied (S1). Pure: parsing, matching, and the
 * smallest list that covers what was used.
 */
import { Fault } from "./fault.ts";

/** What stands behind the colon of a grant. */
type Scope = "none" | "object" | "name" | "host";

interface Right {
  scope: Scope;
  allows: string;
}

export const rights = {
  "object.read": { scope: "object", allows: "read, list and stat objects" },
  "object.write": { scope: "object", allows: "put objects" },
  "object.keep": { scope: "object", allows: "reference and pin objects" },
  "task.submit": { scope: "none", allows: "submit child tasks, wait for them and cancel them" },
  log: { scope: "none", allows: "write structured lines into the task's log" },
  config: { scope: "name", allows: "read the spec's own values and secrets" },
  "keyvalue.read": { scope: "name", allows: "read keys of the job" },
  "keyvalue.write": { scope: "name", allows: "change keys of the job" },
  http: { scope: "host", allows: "send requests to a host" },
} as const satisfies Record<string, Right>;
export type RightName = keyof typeof rights;

const rightNames = Object.keys(rights) as RightName[];
const isRight = (name: string): name is RightName => Object.hasOwn(rights, name);

const objectPattern = /^(?:\*|[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\/[^\0*]*\*?)$/;
const namePattern = /^[^\0*]*\*?$/;
const hostPattern =
  /^(?:\*|(?:\*\.)?[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[1-9]\d{0,4})?$/i;

const scopes: Record<Scope, { pattern: RegExp; example: string; open: boolean } | undefined> = {
  none: undefined,
  object: { pattern: objectPattern, example: "corpus/part-1.txt or corpus/*", open: false },
  name: { pattern: namePattern, example: "progress or progress/*", open: true },
  host: {
    pattern: hostPattern,
    example: "api.example.org, *.example.org or api.example.org:8443",
    open: false,
  },
};

interface Grant {
  right: RightName;
  /** What it covers; a star at its end, or before a host's name, stands for anything. */
  pattern: string;
  text: string;
}

/** How many letters must change to make one word of another. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      const changed = (row[j] ?? 0) + (a[i] === b[j] ? 0 : 1);
      next.push(Math.min(changed, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** The right that was probably meant; undefined if none comes close. */
function meant(name: string): RightName | undefined {
  const [best] = rightNames
    .map((right) => ({ right, far: distance(name.toLowerCase(), right) }))
    .toSorted((a, b) => a.far - b.far);
  return best !== undefined && best.far <= Math.max(2, name.length / 3) ? best.right : undefined;
}

function bad(field: string, said: string, help: string): Fault {
  return new Fault("invalid_argument", `${field}: ${said}`, { field, help });
}

/** One grant. Throws `invalid_argument` naming `field`, with what was probably meant. */
function parseGrant(text: string, field: string): Grant {
  const colon = text.indexOf(":");
  const right = colon < 0 ? text : text.slice(0, colon);
  if (!isRight(right)) {
    const better = meant(right);
    throw bad(
      field,
      `"${right}" is no hostcall that can be granted`,
      better === undefined
        ? `known: ${rightNames.join(", ")}`
        : `did you mean "${better}${colon < 0 ? "" : text.slice(colon)}"?`,
    );
  }
  const scope = scopes[rights[right].scope];
  const pattern = colon < 0 ? undefined : text.slice(colon + 1);
  if (scope === undefined) {
    if (pattern === undefined) return { right, pattern: "*", text };
    throw bad(field, `${right} takes nothing behind it`, `write "${right}"`);
  }
  if (pattern === undefined) {
    if (scope.open) return { right, pattern: "*", text };
    throw bad(field, `${right} does not say what for`, `write it as ${right}:${scope.example}`);
  }
  if (scope.pattern.test(pattern)) {
    return { right, pattern: right === "http" ? pattern.toLowerCase() : pattern, text };
  }
  const [, bucket] = /^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])$/.exec(pattern) ?? [];
  throw bad(
    field,
    `"${pattern}" is nothing that ${right} can be granted for`,
    rights[right].scope === "object" && bucket !== undefined
      ? `did you mean "${right}:${bucket}/*"?`
      : `write it as ${scope.example}; a star may only stand at the end, or before a host's name`,
  );
}

/** `host` and `port` of a target or pattern as `api.example.org:443`. */
function splitHost(text: string): { host: string; port: string | undefined } {
  const [, host = "", port] = /^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/.exec(text) ?? [];
  return { host, port };
}

const usualPorts = new Set(["80", "443"]);

function coversHost(pattern: string, target: string): boolean {
  const want = splitHost(pattern);
  const { host, port = "" } = splitHost(target.toLowerCase());
  if (want.port === undefined ? !usualPorts.has(port) : want.port !== port) return false;
  if (want.host === "*") return true;
  return want.host.startsWith("*.") ? host.endsWith(want.host.slice(1)) : host === want.host;
}

function covers({ right, pattern }: Grant, target: string): boolean {
  if (right === "http") return coversHost(pattern, target);
  return pattern.endsWith("*") ? target.startsWith(pattern.slice(0, -1)) : target === pattern;
}

/** A right that was used, or asked for, on one thing; `""` where there is nothing to name. */
export interface Use {
  right: RightName;
  target: string;
}

/** What one spec grants. */
export class Grants {
  readonly #grants: readonly Grant[];

  /** Throws `invalid_argument` naming the entry below `root`. */
  constructor(texts: readonly string[], root = "spec.hostcalls") {
    this.#grants = texts.map((text, index) => parseGrant(text, `${root}.${index}`));
  }

  /** The grant that allows a use, as it was written; undefined if none does. */
  covering({ right, target }: Use): string | undefined {
    return this.#grants.find((grant) => grant.right === right && covers(grant, target))?.text;
  }

  /** True if a grant names exactly this host, so that its address may be a private one. */
  namesHost(target: string): boolean {
    return this.#grants.some(
      (grant) => grant.right === "http" && !grant.pattern.startsWith("*") && covers(grant, target),
    );
  }
}

/** Throws `invalid_argument` naming the first grant that is none. */
export function checkGrants(texts: readonly string[], root: string): void {
  void new Grants(texts, root);
}

/** More targets than this below one right are covered by patterns. */
const mostNamed = 8;

function commonStart(texts: readonly string[]): string {
  return texts.reduce((start, text) => {
    let length = 0;
    while (length < start.length && start[length] === text[length]) length += 1;
    return start.slice(0, length);
  });
}

/** Patterns that cover the targets: names as long as they are few, else one for each bucket. */
function patterns(scope: Scope, targets: readonly string[]): string[] {
  if (targets.length <= mostNamed || scope === "host") return [...targets];
  if (scope === "name") return [`${commonStart(targets)}*`];
  const buckets = Map.groupBy(targets, (target) => target.slice(0, target.indexOf("/") + 1));
  return [...buckets.values()].map((inBucket) => `${commonStart(inBucket)}*`);
}

/** The smallest list of grants that covers these uses, in the order of the rights. */
export function smallestGrants(uses: readonly Use[]): string[] {
  return rightNames.flatMap((right) => {
    const { scope } = rights[right];
    const targets = uses.filter((use) => use.right === right).map(({ target }) => target);
    const distinct = [...new Set(targets)].toSorted();
    if (distinct.length === 0) return [];
    if (scope === "none") return [right];
    const named = distinct.map((target) => {
      const { host, port = "" } = splitHost(target);
      return scope === "host" && usualPorts.has(port) ? host : target;
    });
    return patterns(scope, [...new Set(named)]).map((pattern) => `${right}:${pattern}`);
  });
}
