/**
 * The journal: every change of the store's metadata, on the store's own disk,
 * beside the chunks. A change is acknowledged when it is here, so that neither
 * the last second that Redis may lose with its power, nor all of Redis, takes
 * an acknowledged put with it (O1).
 *
 * A change and its event are one script, so the stream of events in Redis is
 * the way in: what a crash kept from reaching the journal is found there.
 * Generations follow each other without a gap.
 */
import type { FileHandle } from "node:fs/promises";
import { mkdir, open, readdir, rename, rm, truncate } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import { syncDirectory } from "../chunks/disk.ts";
import { diskFault } from "../chunks/space.ts";
import { failpoint } from "../failpoint.ts";
import {
  encodeJournalRecord,
  isDamagedBehind,
  journalRecords,
  type JournalRecord,
} from "./file.ts";

const namePattern = /^(\d{16})\.(journal|checkpoint)$/;

interface Part {
  readonly name: string;
  /** A journal: generation of its first record. A checkpoint: the one it stands for. */
  readonly generation: number;
  readonly kind: "journal" | "checkpoint";
}

export interface JournalEntry {
  readonly generation: number;
  /** Names and values as the event has them. */
  readonly packed: Buffer;
}

export class Journal implements AsyncDisposable {
  readonly #root: string;
  readonly #maxBytes: number;
  #last: number;
  #file: FileHandle | undefined;
  #size = 0;

  private constructor(root: string, maxBytes: number, last: number) {
    this.#root = root;
    this.#maxBytes = maxBytes;
    this.#last = last;
  }

  /** Opens the journal below `dataDir`; a record that was cut off at its end is removed. */
  static async open(dataDir: string, maxBytes: number): Promise<Journal> {
    const root = join(dataDir, "journal");
    await mkdir(root, { recursive: true });
    await syncDirectory(dataDir);
    let last = 0;
    const parts = await partsOf(root);
    for (const part of parts) {
      if (part.kind === "checkpoint") last = Math.max(last, part.generation);
    }
    const latest = parts.findLast((part) => part.kind === "journal");
    if (latest !== undefined) {
      const path = join(root, latest.name);
      let whole = 0;
      for await (const { generation, end } of journalRecords(path)) {
        last = Math.max(last, generation);
        whole = end;
      }
      // What was damaged is kept for whoever looks into it; nothing is appended to this file.
      if (!(await isDamagedBehind(path, whole))) await truncate(path, whole);
    }
    return new Journal(root, maxBytes, last);
  }

  /** The journal below `dataDir` to be read only, while a store may be writing it. */
  static reader(dataDir: string): Pick<Journal, "read"> {
    return new Journal(join(dataDir, "journal"), 0, 0);
  }

  /** The last generation that is here; 0 if the journal is empty. */
  get last(): number {
    return this.#last;
  }

  /** Appends entries in the order of their generations; once it resolves, they survive loss of power. */
  async append(entries: readonly JournalEntry[]): Promise<void> {
    const [first] = entries;
    const final = entries.at(-1);
    if (first === undefined || final === undefined) return;
    const bytes = Buffer.concat(
      entries.map(({ generation, packed }, index) =>
        encodeJournalRecord(generation, packed, index === 0),
      ),
    );
    try {
      const file = await this.#writable(first.generation);
      for (let written = 0; written < bytes.length;) {
        const left = bytes.length - written;
        written += (await file.write(bytes, written, left, this.#size + written)).bytesWritten;
      }
      failpoint("journal.written");
      await file.datasync();
      failpoint("journal.synced");
    } catch (error) {
      // What stands in the file behind the last whole batch is written over.
      throw diskFault(error);
    }
    this.#size += bytes.length;
    this.#last = final.generation;
  }

  async #writable(generation: number): Promise<FileHandle> {
    if (this.#file !== undefined && this.#size < this.#maxBytes) return this.#file;
    await this.#file?.close();
    this.#file = undefined;
    const name = `${String(generation).padStart(16, "0")}.journal`;
    this.#file = await open(join(this.#root, name), "w", 0o600);
    await syncDirectory(this.#root);
    this.#size = 0;
    return this.#file;
  }

  /** Bytes of journal behind the latest checkpoint. */
  async tailBytes(): Promise<number> {
    const parts = await partsOf(this.#root);
    return parts
      .filter((part) => part.kind === "journal")
      .reduce((sum, part) => sum + Bun.file(join(this.#root, part.name)).size, 0);
  }

  /**
   * Writes a checkpoint that stands for all changes up to `generation`, and
   * removes what it makes superfluous. `entries` may hold later changes too:
   * the journal repeats them.
   */
  async checkpoint(generation: number, entries: AsyncIterable<JournalEntry>): Promise<void> {
    const name = `${String(generation).padStart(16, "0")}.checkpoint`;
    const path = join(this.#root, name);
    const file = await open(`${path}.new`, "w", 0o600);
    try {
      for await (const entry of entries) {
        await file.writeFile(encodeJournalRecord(entry.generation, entry.packed));
      }
      await file.datasync();
    } finally {
      await file.close();
    }
    failpoint("checkpoint.written");
    await rename(`${path}.new`, path);
    failpoint("checkpoint.renamed");
    await syncDirectory(this.#root);
    this.#last = Math.max(this.#last, generation);
    const parts = await partsOf(this.#root);
    for (const [index, part] of parts.entries()) {
      const following = parts.slice(index + 1).find((one) => one.kind === "journal");
      const superfluous =
        part.kind === "checkpoint"
          ? part.generation < generation
          : following !== undefined && following.generation <= generation + 1;
      if (superfluous) await rm(join(this.#root, part.name), { force: true });
    }
  }

  /** The generation that the latest checkpoint stands for; 0 if there is none. */
  async base(): Promise<number> {
    const parts = await partsOf(this.#root);
    return parts.findLast((part) => part.kind === "checkpoint")?.generation ?? 0;
  }

  /**
   * The records behind a generation, in order. From before the latest
   * checkpoint, that comes first, and is meant for a state with nothing in it.
   * Errors: `internal` if records are missing in between.
   */
  async *read(after: number): AsyncGenerator<JournalRecord> {
    const parts = await partsOf(this.#root);
    const checkpoint = parts.findLast((part) => part.kind === "checkpoint");
    let reached = after;
    if (checkpoint !== undefined && after < checkpoint.generation) {
      yield* journalRecords(join(this.#root, checkpoint.name));
      reached = checkpoint.generation;
    }
    for (const part of parts) {
      if (part.kind !== "journal") continue;
      for await (const record of journalRecords(join(this.#root, part.name))) {
        if (record.generation <= reached) continue;
        if (record.generation !== reached + 1) throw gap(reached, record.generation);
        reached = record.generation;
        yield record;
      }
    }
  }

  /**
   * Errors: `object_corrupted`, naming the file, if one of them was damaged, other than
   * by a crash that cut its last batch off.
   */
  async checkWhole(): Promise<void> {
    for (const { name, kind } of await partsOf(this.#root)) {
      const path = join(this.#root, name);
      let whole = 0;
      for await (const { end } of journalRecords(path)) whole = end;
      const damaged =
        whole < Bun.file(path).size &&
        (kind === "checkpoint" || (await isDamagedBehind(path, whole)));
      if (!damaged) continue;
      throw new Fault("object_corrupted", `the journal is damaged: ${name}, behind byte ${whole}`, {
        help: "restore the store's directory from a backup",
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file?.close();
  }
}

function gap(from: number, to: number): Fault {
  return new Fault("internal", `the journal has no record between ${from} and ${to}`);
}

async function partsOf(root: string): Promise<Part[]> {
  const names = await readdir(root);
  return names.toSorted().flatMap((name): Part[] => {
    const match = namePattern.exec(name);
    return match === null
      ? []
      : [{ name, generation: Number(match[1]), kind: match[2] as Part["kind"] }];
  });
}
