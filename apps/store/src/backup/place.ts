/** Where a backup lies: a directory, or below a prefix in a bucket of an S3 service. */
import { mkdir } from "node:fs/promises";
import { resolve } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import { s3Settings } from "../chunks/backend.ts";
import type { Blobs } from "../chunks/blobs.ts";
import { DiskBlobs } from "../chunks/disk.ts";
import { DiskSegments } from "../chunks/disk-segments.ts";
import { S3Blobs } from "../chunks/s3/blobs.ts";
import { S3Place } from "../chunks/s3/place.ts";
import { S3Segments } from "../chunks/s3/segments.ts";
import type { Segments } from "../chunks/segments.ts";
import { Space } from "../chunks/space.ts";
import type { StoreConfig } from "../config.ts";
import { DiskCuts, S3Cuts, type Cuts } from "./cuts.ts";

const segmentBytes = 64 << 20;

export interface BackupPlace extends AsyncDisposable {
  readonly blobs: Blobs;
  readonly segments: Segments;
  readonly cuts: Cuts;
}

/**
 * Opens `s3://bucket/prefix`, at the configured S3 service, or a directory.
 * Errors: `invalid_argument`, `unavailable`.
 */
export async function openPlace(config: StoreConfig, place: string): Promise<BackupPlace> {
  await using stack = new AsyncDisposableStack();
  let parts: Omit<BackupPlace, keyof AsyncDisposable>;
  if (/^[a-z0-9]+:\/\//.test(place)) {
    const match = /^s3:\/\/([^/]+)(?:\/(.*))?$/.exec(place);
    if (match === null) {
      throw new Fault("invalid_argument", `${place} is no place for a backup`, {
        field: "--place",
        help: "write a directory or s3://bucket/prefix",
      });
    }
    const s3 = new S3Place(s3Settings(config, match[1], match[2] ?? ""));
    let last = 0;
    const number = (atLeast: number) => Promise.resolve((last = Math.max(last, atLeast) + 1));
    const segments = await S3Segments.open(s3, number, segmentBytes);
    parts = { blobs: new S3Blobs(s3), segments, cuts: new S3Cuts(s3) };
  } else {
    const directory = resolve(place);
    const space = new Space(directory, 0);
    await mkdir(directory, { recursive: true });
    parts = {
      blobs: await DiskBlobs.open(directory, space),
      segments: await DiskSegments.open(directory, space, segmentBytes),
      cuts: new DiskCuts(directory),
    };
  }
  stack.use(parts.blobs);
  stack.use(parts.segments);
  const resources = stack.move();
  return { ...parts, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}
