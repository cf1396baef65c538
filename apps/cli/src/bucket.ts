/** `spear bucket`: what objects are named in. */
import type { Command } from "commander";
import type { Column } from "./output.ts";
import { sessionOf } from "./session.ts";
import { parseBucket } from "./values.ts";

interface Bucket {
  name: string;
  createdAtMs: number;
}

const columns: readonly Column<Bucket>[] = [
  ["BUCKET", (bucket) => bucket.name],
  ["MADE", (bucket) => new Date(bucket.createdAtMs).toISOString()],
];

const path = (name: string) => `/v1/buckets/${encodeURIComponent(name)}`;

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
    .command("rm")
    .summary("remove an empty bucket")
    .argument("<name>", "its name", parseBucket)
    .action(async (name: string, _: unknown, command: Command) => {
      const { store, output } = sessionOf(command);
      await store.request("DELETE", path(name));
      await output.done({ name, removed: true }, `removed ${name}`);
    });
}
