/** `spear object`: bytes in and out of the Object Store. */
import { Fault, isFaultCode } from "@spear/shared/fault.ts";
import type { Command } from "commander";
import type { Client, Page } from "./client.ts";
import { addKeeping, isObjectId } from "./keep.ts";
import type { Column } from "./output.ts";
import { sessionOf, type Session } from "./session.ts";
import { putInParts } from "./parts.ts";
import { getObject, metaPrefix, objectPath, putObject, type StoredObject } from "./transfer.ts";
import {
  collectPair,
  formatBytes,
  parseBucket,
  parseBytes,
  parseCount,
  parseObjectName,
  type ObjectName,
} from "./values.ts";

interface ObjectPage extends Page {
  objects: StoredObject[];
  prefixes: string[];
}
/** Most keys that the store takes away at once. */
const mostDeleted = 1_000;

/** A line of a listing: an object, or what several keys begin with. */
type Row = StoredObject | { prefix: string };
type ObjectStat = Omit<StoredObject, "bucket" | "key">;

const sizeOf = (page: ObjectPage) => page.objects.length + page.prefixes.length;

const columns: readonly Column<Row>[] = [
  ["KEY", (row) => ("prefix" in row ? row.prefix : row.key)],
  ["SIZE", (row) => ("prefix" in row ? "" : formatBytes(row.sizeBytes))],
  ["STORED", (row) => ("prefix" in row ? "" : new Date(row.createdAtMs).toISOString())],
  ["ID", (row) => ("prefix" in row ? "" : row.id)],
];

const details = (object: ObjectStat) => [
  ["id", object.id] as const,
  ["size", `${object.sizeBytes} (${formatBytes(object.sizeBytes)})`] as const,
  ["type", object.contentType] as const,
  ["sha256", object.sha256] as const,
  ["etag", object.etag] as const,
  ["stored", new Date(object.createdAtMs).toISOString()] as const,
  ["generation", String(object.generation)] as const,
  ...Object.entries(object.metadata).map(([name, value]) => [`meta ${name}`, value] as const),
];

/** What `stat` and `get` take: a name, or the id of an object. */
function pathOf(text: string): string {
  return isObjectId(text) ? `/v1/objects/${text}` : objectPath(parseObjectName(text));
}

export function addObject(program: Command): void {
  const object = program
    .command("object")
    .summary("put, get, list and keep objects")
    .description("Objects of the Object Store, named BUCKET/KEY.");
  object
    .command("put")
    .summary("store a file")
    .description("Stores a file, or standard input for '-'; the bucket must exist.")
    .argument("<file>", "file, or - for standard input")
    .argument("<BUCKET/KEY>", "its name", parseObjectName)
    .option("--type <media type>", "media type (default application/octet-stream)")
    .option("--meta <NAME=VALUE>", "metadata (repeatable)", collectPair)
    .option("--if-absent", "only if nothing has the name")
    .option("--resumable", "in parts; given again after a failure, it goes on where it stopped")
    .option("--part-size <size>", "with --resumable: size of a part", parseBytes, 64 << 20)
    .addHelpText("after", "\nExample:\n  spear object put report.pdf docs/2026/report.pdf")
    .action(async (file: string, name: ObjectName, _: unknown, command: Command) => {
      const { store, output } = sessionOf(command);
      const options = command.opts<{
        type?: string;
        meta?: Record<string, string>;
        ifAbsent?: boolean;
        resumable?: boolean;
        partSize: number;
      }>();
      const how = {
        contentType: options.type,
        metadata: options.meta,
        ifAbsent: options.ifAbsent,
        progress: true,
      };
      const stored =
        options.resumable === true
          ? await putInParts(store, file, name, options.partSize, how)
          : await putObject(store, file, name, how);
      const size = formatBytes(stored.sizeBytes);
      await output.done(stored, `${stored.bucket}/${stored.key}  ${size}  ${stored.id}`);
    });
  object
    .command("get")
    .summary("fetch an object")
    .description("Writes an object to a file, or to standard output for '-'.")
    .argument("<BUCKET/KEY>", "its name, or its id", pathOf)
    .argument("[file]", "file, or - for standard output (default: the key's last part)")
    .addHelpText("after", "\nExample:\n  spear object get docs/2026/report.pdf - | less")
    .action(async (path: string, file: string | undefined, _: unknown, command: Command) => {
      const { store, output } = sessionOf(command);
      const target = file ?? lastPart(path);
      const bytes = await getObject(store, path, target, true);
      if (target !== "-") {
        await output.done({ file: target, sizeBytes: bytes }, `${target}  ${formatBytes(bytes)}`);
      }
    });
  object
    .command("ls")
    .summary("list a bucket's objects")
    .description("Lists the objects of a bucket in the order of their keys.")
    .argument("<BUCKET[/PREFIX]>", "bucket, and what the keys start with")
    .option("--delimiter <text>", "show what lies below it as one line")
    .option("--limit <count>", "most lines", parseCount)
    .action(async (place: string, _: unknown, command: Command) => {
      await list(place, command.opts(), sessionOf(command));
    });
  object
    .command("stat")
    .summary("show what is known of an object")
    .argument("<BUCKET/KEY>", "its name, or its id", pathOf)
    .action(async (path: string, _: unknown, command: Command) => {
      const { store, output } = sessionOf(command);
      await output.one(await statObject(store, path), details);
    });
  object
    .command("cp")
    .summary("give an object another name")
    .description("Gives an object another name; no bytes move, and both names stand for it.")
    .argument("<BUCKET/KEY>", "its name, or its id")
    .argument("<BUCKET/KEY>", "the other name", parseObjectName)
    .option("--if-absent", "only if nothing has the name")
    .action(async (from: string, to: ObjectName, _: unknown, command: Command) => {
      const { store, output } = sessionOf(command);
      const { ifAbsent } = command.opts<{ ifAbsent?: boolean }>();
      const copied = await store.json<StoredObject>("POST", "/v1/copies", {
        body: {
          ...(isObjectId(from) ? { objectId: from } : { source: parseObjectName(from) }),
          ...to,
          ...(ifAbsent === true ? { condition: { ifAbsent } } : {}),
        },
      });
      await output.done(copied, `${copied.bucket}/${copied.key}  ${copied.id}`);
    });
  object
    .command("rm")
    .summary("take names away")
    .description("Takes the names of objects away; what nothing keeps is collected later.")
    .argument("<BUCKET/KEY...>", "their names")
    .action(async (names: string[], _: unknown, command: Command) => {
      await remove(
        names.map((name) => parseObjectName(name)),
        sessionOf(command),
      );
    });
  addKeeping(object);
}

interface Deleted {
  key: string;
  deleted: boolean;
  failure?: { code: string; message: string };
}

/** Takes names away, as many of a bucket at once as the store takes. */
async function remove(names: readonly ObjectName[], { store, output }: Session): Promise<void> {
  let failure: Deleted["failure"];
  for (const [bucket, group] of Map.groupBy(names, (name) => name.bucket)) {
    for (let at = 0; at < group.length; at += mostDeleted) {
      const keys = group.slice(at, at + mostDeleted).map(({ key }) => key);
      const path = `/v1/buckets/${encodeURIComponent(bucket)}/deletions`;
      const { results } = await store.json<{ results: Deleted[] }>("POST", path, {
        body: { keys },
      });
      for (const result of results) {
        failure ??= result.failure;
        const said = result.failure?.message ?? (result.deleted ? "removed" : "was not there");
        const line = result.deleted
          ? `removed ${bucket}/${result.key}`
          : `${bucket}/${result.key}: ${said}`;
        await output.done({ bucket, key: result.key, removed: result.deleted }, line);
      }
    }
  }
  if (failure !== undefined) {
    throw new Fault(isFaultCode(failure.code) ? failure.code : "internal", failure.message);
  }
}

function lastPart(path: string): string {
  return (
    decodeURIComponent(path.split("/").at(-1) ?? "")
      .split("/")
      .at(-1) || "object"
  );
}

/** What an answer's headers say of its object. */
async function statObject(store: Client, path: string): Promise<ObjectStat> {
  const { headers } = await store.request("HEAD", path);
  const metadata: Record<string, string> = {};
  headers.forEach((value, header) => {
    if (header.startsWith(metaPrefix)) metadata[header.slice(metaPrefix.length)] = value;
  });
  return {
    id: headers.get("x-spear-object-id") ?? "",
    sizeBytes: Number(headers.get("content-length") ?? 0),
    sha256: headers.get("x-spear-sha256") ?? "",
    etag: headers.get("etag")?.replaceAll('"', "") ?? "",
    contentType: headers.get("content-type") ?? "",
    createdAtMs: Date.parse(headers.get("last-modified") ?? ""),
    generation: Number(headers.get("x-spear-generation") ?? 0),
    metadata,
  };
}

async function list(
  place: string,
  options: { delimiter?: string; limit?: number },
  { store, output }: Session,
): Promise<void> {
  const slash = place.indexOf("/");
  const bucket = parseBucket(slash < 0 ? place : place.slice(0, slash));
  const path = `/v1/buckets/${encodeURIComponent(bucket)}/objects`;
  const query = {
    prefix: slash < 0 ? undefined : place.slice(slash + 1),
    delimiter: options.delimiter,
  };
  const rows: Row[] = [];
  for await (const page of store.pages<ObjectPage>(path, query, sizeOf, options.limit)) {
    rows.push(...page.objects, ...page.prefixes.map((prefix) => ({ prefix })));
  }
  await output.many(rows, columns);
}
