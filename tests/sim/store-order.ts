/**
 * The order of a store's changes as its journal tells it, and a model that follows
 * it: what every name pointed at and when, what keeps an object, what was collected.
 */
import { expect } from "bun:test";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { ObjectId } from "@spear/shared/ids.ts";
import { journalRecords } from "@spear/store/journal/file.ts";
import { unpackId } from "@spear/store/objects/record.ts";

/** What a name pointed at from a generation on; id is undefined for nothing. */
export interface Version {
  from: number;
  id: ObjectId | undefined;
}

export interface Event {
  generation: number;
  op: string;
  field: (name: string) => string;
  id: ObjectId;
}

/** What happened behind a generation in the store of a directory, in order. */
export async function eventsBehind(dataDir: string, generation: number): Promise<Event[]> {
  const root = join(dataDir, "journal");
  const found: Event[] = [];
  const names = (await readdir(root)).toSorted();
  // A file is named after its first generation.
  const first = names.findLastIndex((name) => Number.parseInt(name, 10) <= generation + 1);
  for (const name of names.slice(Math.max(0, first))) {
    for await (const record of journalRecords(join(root, name))) {
      if (record.generation <= generation) continue;
      const raw = record.fields.get("id") ?? record.fields.get("source");
      found.push({
        generation: record.generation,
        op: String(record.fields.get("op")),
        field: (field) => String(record.fields.get(field) ?? ""),
        id: raw === undefined ? ("" as ObjectId) : unpackId(raw),
      });
    }
  }
  return found;
}

/**
 * Follows the events of a bucket; what its names pointed at, by key, and what is kept
 * at the end. Fails if something was collected that was kept (O3).
 */
export function follow(events: readonly Event[], bucket: string) {
  const histories = new Map<string, Version[]>();
  const names = new Map<ObjectId, number>();
  const keepers = new Map<ObjectId, Set<string>>();
  const collected = new Map<ObjectId, number>();
  const point = (key: string, id: ObjectId | undefined, from: number) => {
    const history = histories.get(key) ?? [{ from: 0, id: undefined }];
    const before = history.at(-1)?.id;
    if (before !== undefined) names.set(before, (names.get(before) ?? 0) - 1);
    if (id !== undefined) names.set(id, (names.get(id) ?? 0) + 1);
    histories.set(key, [...history, { from, id }]);
  };
  for (const { op, id, field, generation } of events) {
    const mine = field("bucket") === bucket;
    const kept = keepers.get(id) ?? new Set();
    if ((op === "put" || op === "copy") && mine) point(field("key"), id, generation);
    else if (op === "delete" && mine) point(field("key"), undefined, generation);
    else if (op === "pin") keepers.set(id, kept.add("pin"));
    else if (op === "unpin") kept.delete("pin");
    else if (op === "ref") keepers.set(id, kept.add(field("holder")));
    else if (op === "unref") kept.delete(field("holder"));
    else if (op === "collect") {
      expect({ id, names: names.get(id) ?? 0, kept: [...kept] }).toEqual({
        id,
        names: 0,
        kept: [],
      });
      collected.set(id, generation);
    }
  }
  return { histories, names, keepers, collected };
}
