/**
 * Cuts: a cut is the metadata of a store at one point in time, as records of a
 * journal, with the places of its chunks in the backup that it lies in. A record
 * at its end says that it is whole.
 */
import { mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import { syncDirectory } from "../chunks/disk.ts";
import type { S3Place } from "../chunks/s3/place.ts";
import { diskFault } from "../chunks/space.ts";
import { encodeJournalRecord, journalRecords, packFields } from "../journal/file.ts";
import type { JournalRecord } from "../journal/file.ts";

const extension = ".cut";
const folder = "cuts/";
const endOp = "end";

/** The port of where cuts lie; they come and go as files. */
export interface Cuts {
  /** Ids, the oldest first. */
  list(): Promise<string[]>;
  /** Stores a file as a cut; whole or not at all, and durable once it resolves. */
  save(id: string, path: string): Promise<void>;
  /** Writes a cut to a file. Errors: `not_found`. */
  load(id: string, path: string): Promise<void>;
}

function cutNotFound(id: string): Fault {
  return new Fault("not_found", `there is no cut ${id}`, { field: "--cut" });
}

const idsOf = (names: readonly string[]) =>
  names.flatMap((name) => (name.endsWith(extension) ? name.slice(0, -extension.length) : []));

export class DiskCuts implements Cuts {
  readonly #root: string;

  constructor(directory: string) {
    this.#root = join(directory, folder);
  }

  async list(): Promise<string[]> {
    await mkdir(this.#root, { recursive: true });
    return idsOf(await readdir(this.#root)).toSorted();
  }

  async save(id: string, path: string): Promise<void> {
    const target = join(this.#root, id + extension);
    try {
      await copyDurably(path, `${target}.new`);
      await rename(`${target}.new`, target);
    } catch (error) {
      await rm(`${target}.new`, { force: true });
      throw diskFault(error);
    }
    await syncDirectory(this.#root);
  }

  async load(id: string, path: string): Promise<void> {
    const source = Bun.file(join(this.#root, id + extension));
    if (!(await source.exists())) throw cutNotFound(id);
    await copyDurably(source.name ?? "", path);
  }
}

export class S3Cuts implements Cuts {
  readonly #place: S3Place;

  constructor(place: S3Place) {
    this.#place = place;
  }

  async list(): Promise<string[]> {
    const names: string[] = [];
    for await (const { key } of this.#place.list(folder)) names.push(key.slice(folder.length));
    return idsOf(names).toSorted();
  }

  async save(id: string, path: string): Promise<void> {
    await this.#place.put(folder + id + extension, Bun.file(path));
  }

  async load(id: string, path: string): Promise<void> {
    const key = folder + id + extension;
    if ((await this.#place.size(key)) === undefined) throw cutNotFound(id);
    const file = await open(path, "w", 0o600);
    try {
      for await (const piece of this.#place.stream(key)) await file.writeFile(piece);
    } finally {
      await file.close();
    }
  }
}

async function copyDurably(from: string, to: string): Promise<void> {
  const [source, target] = [await open(from, "r"), await open(to, "w", 0o600)];
  try {
    for await (const piece of source.createReadStream({ autoClose: false })) {
      await target.writeFile(piece as Buffer);
    }
    await target.datasync();
  } finally {
    await Promise.all([source.close(), target.close()]);
  }
}

/** Writes a cut's records to a file, and behind them that it is whole. */
export async function writeCut(
  path: string,
  generation: () => number,
  records: AsyncIterable<JournalRecord>,
): Promise<number> {
  const file = await open(path, "w", 0o600);
  let count = 0;
  try {
    let batch: Buffer[] = [];
    for await (const record of records) {
      batch.push(encodeJournalRecord(record.generation, record.packed, false));
      count++;
      if (batch.length < 256) continue;
      await file.writeFile(Buffer.concat(batch));
      batch = [];
    }
    const end = packFields({ op: endOp, records: count });
    await file.writeFile(Buffer.concat([...batch, encodeJournalRecord(generation(), end, false)]));
    await file.datasync();
  } catch (error) {
    throw diskFault(error);
  } finally {
    await file.close();
  }
  return count;
}

/** The last change that a cut in a file has. Errors: `checksum_mismatch` if it is not whole. */
export async function generationOfCut(path: string): Promise<number> {
  let count = 0;
  for await (const { generation, fields } of journalRecords(path)) {
    if (String(fields.get("op")) !== endOp) {
      count++;
      continue;
    }
    if (Number(fields.get("records")) === count) return generation;
  }
  throw new Fault("checksum_mismatch", "the cut is damaged or not whole", {
    help: "take another cut of the backup with --cut",
  });
}

/** The records of a cut in a file. */
export async function* recordsOfCut(path: string): AsyncGenerator<JournalRecord> {
  for await (const record of journalRecords(path)) {
    if (String(record.fields.get("op")) !== endOp) yield record;
  }
}
