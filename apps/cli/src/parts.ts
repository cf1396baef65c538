/**
 * A file in parts, so that a put that was interrupted goes on where it stopped:
 * what the store has of it is told by each part's SHA-256, and nothing is kept here.
 */
import { Fault } from "@spear/shared/fault.ts";
import type { FileHandle } from "node:fs/promises";
import { Progress } from "./progress.ts";
import type { Client, Page } from "./client.ts";
import { blocksOf, digestOf, openFile, sendBlocks } from "./transfer.ts";
import type { PutOptions, StoredObject } from "./transfer.ts";
import type { ObjectName } from "./values.ts";

const parallel = 3;
const mostParts = 10_000;

interface Upload {
  id: string;
  key: string;
  createdAtMs: number;
}

interface Part {
  number: number;
  sizeBytes: number;
  etag: string;
  sha256: string;
}

/**
 * Stores a file in parts of `partBytes`. Of an upload of the same name that is
 * open, parts that are the file's are taken over. A file that changes meanwhile
 * is refused.
 */
export async function putInParts(
  store: Client,
  path: string,
  name: ObjectName,
  partBytes: number,
  options: PutOptions,
): Promise<StoredObject> {
  const { file, size, modifiedAtMs } = await openFile(path);
  try {
    const count = Math.max(1, Math.ceil(size / partBytes));
    if (count > mostParts) {
      throw new Fault("invalid_argument", `--part-size: these would be ${count} parts`, {
        field: "--part-size",
        help: `at most ${mostParts} are allowed`,
      });
    }
    const uploads = `/v1/buckets/${encodeURIComponent(name.bucket)}/uploads`;
    const upload =
      (await openUpload(store, uploads, name)) ?? (await begin(store, uploads, name, options));
    const known = await partsOf(store, upload.id);
    using progress = new Progress(options.progress, "put", size);
    const parts: Part[] = [];
    let next = 1;
    const work = async () => {
      for (let number = next++; number <= count; number = next++) {
        const from = (number - 1) * partBytes;
        const to = Math.min(from + partBytes, size);
        const there = known.get(number);
        parts.push(await putPart(store, file, upload.id, { number, from, to }, there, progress));
      }
    };
    await Promise.all(Array.from({ length: parallel }, work));
    if ((await file.stat()).mtimeMs !== modifiedAtMs) {
      throw new Fault("conflict", `${path} has changed meanwhile`, { field: "file" });
    }
    return await store.json<StoredObject>("POST", `/v1/uploads/${upload.id}/complete`, {
      body: {
        parts: parts
          .map(({ number, etag }) => ({ number, etag }))
          .toSorted((a, b) => a.number - b.number),
        ...(options.ifAbsent === true ? { condition: { ifAbsent: true } } : {}),
      },
    });
  } finally {
    await file.close();
  }
}

/** The latest upload of that name that is not complete. */
async function openUpload(store: Client, path: string, name: ObjectName) {
  const { uploads } = await store.json<{ uploads: Upload[] }>("GET", path);
  return uploads
    .filter(({ key }) => key === name.key)
    .toSorted((a, b) => b.createdAtMs - a.createdAtMs)[0];
}

function begin(store: Client, path: string, { key }: ObjectName, options: PutOptions) {
  const { contentType, metadata } = options;
  return store.json<Upload>("POST", path, {
    body: {
      key,
      ...(contentType === undefined ? {} : { contentType }),
      ...(metadata === undefined ? {} : { metadata }),
    },
  });
}

async function partsOf(store: Client, id: string): Promise<Map<number, Part>> {
  const known = new Map<number, Part>();
  const pages = store.pages<Page & { parts: Part[] }>(`/v1/uploads/${id}/parts`, {}, () => 0);
  for await (const { parts } of pages) for (const part of parts) known.set(part.number, part);
  return known;
}

async function putPart(
  store: Client,
  file: FileHandle,
  upload: string,
  { number, from, to }: { number: number; from: number; to: number },
  there: Part | undefined,
  progress: Progress,
): Promise<Part> {
  const sha256 = await digestOf(file, from, to);
  if (there?.sizeBytes === to - from && there.sha256 === sha256) {
    progress.add(to - from);
    return there;
  }
  const headers = { "x-spear-sha256": sha256, "content-length": String(to - from) };
  const path = `/v1/uploads/${upload}/parts/${number}`;
  const response = await sendBlocks(store, path, headers, blocksOf(file, from, to), progress);
  return (await response.json()) as Part;
}
