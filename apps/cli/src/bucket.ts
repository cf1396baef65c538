/** `spear bucket`: what objects are named in, and the rules for it. */
import { InvalidArgumentError, type Command } from "commander";
import type { Column } from "./output.ts";
import { sessionOf } from "./session.ts";
import {
  formatBytes,
  formatDuration,
  parseBucket,
  parseBytes,
  parseCount,
  parseDurationMs,
} from "./values.ts";

interface Bucket {
  name: string;
  createdAtMs: number;
}

interface ExpiryRule {
  prefix: string;
  afterMs: number;
}

interface BucketRules {
  maxBytes?: number;
  maxObjects?: number;
  expiry?: ExpiryRule[];
}

interface BucketStat extends Bucket {
  objects: number;
  sizeBytes: number;
  rules: BucketRules;
}

const columns: readonly Column<Bucket>[] = [
  ["BUCKET", (bucket) => bucket.name],
  ["MADE", (bucket) => new Date(bucket.createdAtMs).toISOString()],
];

const path = (name: string) => `/v1/buckets/${encodeURIComponent(name)}`;

const details = ({ name, createdAtMs, objects, sizeBytes, rules }: BucketStat) => [
  ["name", name] as const,
  ["made", new Date(createdAtMs).toISOString()] as const,
  ["objects", ofMost(objects, rules.maxObjects, String)] as const,
  ["size", ofMost(sizeBytes, rules.maxBytes, formatBytes)] as const,
  ["expiry", (rules.expiry ?? []).map(expiryText).join("\n")] as const,
];

/** What there is, of how much there may be. */
function ofMost(there: number, most: number | undefined, format: (value: number) => string) {
  return most === undefined ? format(there) : `${format(there)} of ${format(most)}`;
}

function expiryText({ prefix, afterMs }: ExpiryRule): string {
  return `${prefix === "" ? "all" : `${prefix}*`} after ${formatDuration(afterMs)}`;
}

/** `30d`, or `tmp/=1h` for keys that start with `tmp/`; may be given again. */
function collectExpiry(text: string, before: readonly ExpiryRule[] | undefined): ExpiryRule[] {
  const at = text.lastIndexOf("=");
  const afterMs = parseDurationMs(text.slice(at + 1));
  if (afterMs < 1) throw new InvalidArgumentError("It must be longer than nothing.");
  return [...(before ?? []), { prefix: at < 0 ? "" : text.slice(0, at), afterMs }];
}

export function addBucket(program: Command): void {
  const bucket = program
    .command("bucket")
    .summary("make, list and remove buckets")
    .description("Buckets of the Object Store.");
  bucket
    .command("create")
    .summary("make a bucket")
    .argument("<name>", "3-63 of a-z, 0-9, '.' and '-'", parseBucket)
    .option("--if-absent", "no error if it is there already")
    .action(async (name: string, options: { ifAbsent?: boolean }, command: Command) => {
      const { store, output } = sessionOf(command);
      const made = await store.json<Bucket>("PUT", path(name), {
        query: { ifAbsent: options.ifAbsent },
      });
      await output.done(made, `made ${made.name}`);
    });
  bucket
    .command("ls")
    .summary("list the buckets")
    .action(async (_: unknown, command: Command) => {
      const { store, output } = sessionOf(command);
      const { buckets } = await store.json<{ buckets: Bucket[] }>("GET", "/v1/buckets");
      await output.many(buckets, columns);
    });
  bucket
    .command("get")
    .summary("show what a bucket holds, and its rules")
    .argument("<name>", "its name", parseBucket)
    .action(async (name: string, _: unknown, command: Command) => {
      const { store, output } = sessionOf(command);
      const [made, usage, rules] = await Promise.all([
        store.json<Bucket>("GET", path(name)),
        store.json<{ objects: number; sizeBytes: number }>("GET", `${path(name)}/usage`),
        store.json<BucketRules>("GET", `${path(name)}/rules`),
      ]);
      await output.one({ ...made, ...usage, rules }, details);
    });
  bucket
    .command("set-rules")
    .summary("give a bucket a quota and an expiry")
    .description(
      "Gives a bucket these rules instead of those it has; without options it has none.\n" +
        "What a rule takes the name of goes when no reference and no pin holds it.",
    )
    .argument("<name>", "its name", parseBucket)
    .option("--max-bytes <size>", "most bytes in it, as 10Gi", parseBytes)
    .option("--max-objects <count>", "most objects in it", parseCount)
    .option(
      "--expire <[PREFIX=]duration>",
      "take names away this long after their object was stored (repeatable)",
      collectExpiry,
    )
    .addHelpText(
      "after",
      "\nExample:\n  spear bucket set-rules build --max-bytes 10Gi --expire 30d --expire tmp/=1h",
    )
    .action(async (name: string, _: unknown, command: Command) => {
      const { store, output } = sessionOf(command);
      const { expire, ...quota } = command.opts<BucketRules & { expire?: ExpiryRule[] }>();
      const body = { ...quota, ...(expire === undefined ? {} : { expiry: expire }) };
      const rules = await store.json<BucketRules>("PUT", `${path(name)}/rules`, { body });
      await output.done(rules, `${name} has ${describe(rules)}`);
    });
  bucket
    .command("rm")
    .summary("remove an empty bucket")
    .argument("<name>", "its name", parseBucket)
    .action(async (name: string, _: unknown, command: Command) => {
      const { store, output } = sessionOf(command);
      await store.request("DELETE", path(name));
      await output.done({ name, removed: true }, `removed ${name}`);
    });
}

function describe({ maxBytes, maxObjects, expiry = [] }: BucketRules): string {
  const said = [
    ...(maxBytes === undefined ? [] : [`room for ${formatBytes(maxBytes)}`]),
    ...(maxObjects === undefined ? [] : [`room for ${maxObjects} objects`]),
    ...expiry.map((rule) => `names that go: ${expiryText(rule)}`),
  ];
  return said.length === 0 ? "no rules" : said.join(", ");
}
