/** `spear object ref|unref|pin|unpin|why`: what keeps an object beyond its name. */
import type { Command } from "commander";
import type { Client } from "./client.ts";
import { sessionOf } from "./session.ts";
import { objectPath, type StoredObject } from "./transfer.ts";
import { formatDuration, parseDurationMs, parseObjectName } from "./values.ts";

interface KeptObject extends StoredObject {
  pinned: boolean;
  refs: string[];
}

/** As the store explains it. */
interface Why {
  objectId: string;
  kept: boolean;
  names: { bucket: string; key: string }[];
  pinned: boolean;
  refs: { holder: string; endsAtMs?: number }[];
  unkeptSinceMs?: number;
  collectedAfterMs?: number;
}

/** Given a name, the id of the object that it stands for now; an id is itself. */
async function idOf(store: Client, text: string): Promise<string> {
  if (isObjectId(text)) return text;
  const { headers } = await store.request("HEAD", objectPath(parseObjectName(text)));
  return headers.get("x-spear-object-id") ?? "";
}

export function isObjectId(text: string): boolean {
  return /^obj_[0-9A-Z]{26}$/.test(text);
}

/** A name or an id, as it is written. */
function checked(text: string): string {
  if (!isObjectId(text)) parseObjectName(text);
  return text;
}

/** Why an object is kept or will go, for people. */
export function explained(why: Why, nowMs: number): string {
  const when = (atMs: number) => `in ${formatDuration(atMs - nowMs)}`;
  const keepers = [
    ...why.names.map(({ bucket, key }) => `the name ${bucket}/${key}`),
    ...(why.pinned ? ["its pin"] : []),
    ...why.refs.map(
      ({ holder, endsAtMs }) =>
        `the reference of ${holder}${endsAtMs === undefined ? "" : `, which ends ${when(endsAtMs)}`}`,
    ),
  ];
  if (why.kept) return [`${why.objectId} is kept by`, ...keepers].join("\n  ");
  const soon = why.collectedAfterMs ?? nowMs;
  return `${why.objectId} is kept by nothing and goes ${soon <= nowMs ? "soon" : when(soon)}`;
}

export function addKeeping(object: Command): void {
  const holder = "who holds it, as user/ann or job/job_…";
  object
    .command("ref")
    .summary("keep an object for a holder")
    .description("Keeps an object alive for a holder, also when its name is gone.")
    .argument("<BUCKET/KEY>", "its name, or its id", checked)
    .argument("<holder>", holder)
    .option("--ttl <duration>", "end by itself after this long, as 1h", parseDurationMs)
    .action(async (text: string, by: string, options: { ttl?: number }, command: Command) => {
      const { store, output } = sessionOf(command);
      const id = await idOf(store, text);
      const kept = await store.json<KeptObject>("POST", `/v1/objects/${id}/refs`, {
        body: { holder: by, ...(options.ttl === undefined ? {} : { ttlMs: options.ttl }) },
      });
      await output.done(kept, `${id} is kept for ${by}`);
    });
  object
    .command("unref")
    .summary("take a holder's reference away")
    .argument("<BUCKET/KEY>", "its name, or its id", checked)
    .argument("<holder>", holder)
    .action(async (text: string, by: string, _: unknown, command: Command) => {
      const { store, output } = sessionOf(command);
      const id = await idOf(store, text);
      const query = { holder: by };
      const left = await store.json<KeptObject>("DELETE", `/v1/objects/${id}/refs`, { query });
      await output.done(left, `${id} is no longer kept for ${by}`);
    });
  for (const [name, method, summary, said] of [
    ["pin", "PUT", "keep an object until it is unpinned", "is pinned"],
    ["unpin", "DELETE", "take the pin away", "is not pinned"],
  ] as const) {
    object
      .command(name)
      .summary(summary)
      .argument("<BUCKET/KEY>", "its name, or its id", checked)
      .action(async (text: string, _: unknown, command: Command) => {
        const { store, output } = sessionOf(command);
        const id = await idOf(store, text);
        const changed = await store.json<KeptObject>(method, `/v1/objects/${id}/pin`);
        await output.done(changed, `${id} ${said}`);
      });
  }
  object
    .command("why")
    .summary("tell what keeps an object, or when it goes")
    .argument("<BUCKET/KEY>", "its name, or its id", checked)
    .action(async (text: string, _: unknown, command: Command) => {
      const { store, output } = sessionOf(command);
      const id = await idOf(store, text);
      const why = await store.json<Why>("GET", `/v1/objects/${id}/why`);
      await output.item(why, (value) => explained(value, Date.now()));
    });
}
