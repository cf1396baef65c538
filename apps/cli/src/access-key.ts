/** `spear access-key`: what S3 clients sign with. */
import type { Command } from "commander";
import { InvalidArgumentError } from "commander";
import type { Column } from "./output.ts";
import { sessionOf } from "./session.ts";
import { collect, parseBucket, parseDurationMs } from "./values.ts";

const actions = ["read", "write", "list", "delete"] as const;
type Action = (typeof actions)[number];
const readOnly: readonly Action[] = ["read", "list"];

interface Grant {
  bucket: string;
  prefix?: string;
  actions: readonly Action[];
}

interface AccessKey {
  id: string;
  description: string;
  grants: Grant[];
  createdAtMs: number;
  expiresAtMs?: number;
}

export type NewAccessKey = AccessKey & { secret: string };

/** `photos/2026/: read, list`. */
function grantText({ bucket, prefix, actions: allowed }: Grant): string {
  const all = allowed.length === actions.length;
  return `${bucket}${prefix === undefined ? "" : `/${prefix}`}: ${all ? "all" : allowed.join(",")}`;
}

const timeText = (ms: number) => new Date(ms).toISOString();

const columns: readonly Column<AccessKey>[] = [
  ["ACCESS KEY", (key) => key.id],
  ["ALLOWS", (key) => key.grants.map(grantText).join("; ")],
  ["MADE", (key) => timeText(key.createdAtMs)],
  ["ENDS", (key) => (key.expiresAtMs === undefined ? "never" : timeText(key.expiresAtMs))],
  ["DESCRIPTION", (key) => key.description],
];

function parseActions(text: string): Action[] {
  const asked = text.split(",");
  const known = actions.filter((action) => asked.includes(action));
  if (known.length === asked.length && known.length > 0) return known;
  throw new InvalidArgumentError(`Write some of ${actions.join(", ")}, as read,list.`);
}

function collectBucket(text: string, before: readonly string[] | undefined): string[] {
  return collect(text === "*" ? text : parseBucket(text), before);
}

/** The line by which a shell hands a key to S3 clients. */
export function exportsOf({ id, secret }: Pick<NewAccessKey, "id" | "secret">): string {
  return `export AWS_ACCESS_KEY_ID=${id} AWS_SECRET_ACCESS_KEY=${secret}`;
}

interface CreateOptions {
  description?: string;
  bucket?: string[];
  prefix?: string;
  readOnly?: boolean;
  allow?: Action[];
  ttl?: number;
}

export function addAccessKey(program: Command): void {
  const accessKey = program
    .command("access-key")
    .summary("make, list and remove keys for S3 clients")
    .description("Access keys of the Object Store, with which S3 clients sign.");
  accessKey
    .command("create")
    .summary("make a key; its secret is shown only now")
    .option("--bucket <name>", "only this bucket (repeatable; default all)", collectBucket)
    .option("--prefix <text>", "only keys that start with this")
    .option("--read-only", "only read and list")
    .option("--allow <actions>", "only these of read,write,list,delete", parseActions)
    .option("--ttl <duration>", "how long it holds, as 30d (default for ever)", parseDurationMs)
    .option("--description <text>", "what it is for")
    .addHelpText(
      "after",
      '\nExample:\n  eval "$(spear access-key create --bucket photos --read-only)"',
    )
    .action(async (options: CreateOptions, command: Command) => {
      const { store, output } = sessionOf(command);
      const { description, bucket = ["*"], prefix, ttl } = options;
      const allowed = options.allow ?? (options.readOnly === true ? readOnly : actions);
      const grants = bucket.map((name) => ({
        bucket: name,
        ...(prefix === undefined ? {} : { prefix }),
        actions: allowed,
      }));
      const made = await store.json<NewAccessKey>("POST", "/v1/access-keys", {
        body: { description, grants, ttlMs: ttl },
      });
      await output.done(made, exportsOf(made));
    });
  accessKey
    .command("ls")
    .summary("list the keys, without their secrets")
    .action(async (_: unknown, command: Command) => {
      const { store, output } = sessionOf(command);
      const { accessKeys } = await store.json<{ accessKeys: AccessKey[] }>(
        "GET",
        "/v1/access-keys",
      );
      await output.many(accessKeys, columns);
    });
  accessKey
    .command("rm")
    .summary("remove a key; it opens nothing any more")
    .argument("<id>", "its id, SPEAR…")
    .action(async (id: string, _: unknown, command: Command) => {
      const { store, output } = sessionOf(command);
      await store.request("DELETE", `/v1/access-keys/${encodeURIComponent(id)}`);
      await output.done({ id, removed: true }, `removed ${id}`);
    });
}
