/** Opens what keeps the bytes, as the configuration says: this disk, or an S3 service. */
import { readFileSync } from "node:fs";
import { Fault } from "@spear/shared/fault.ts";
import type { StoreConfig } from "../config.ts";
import { changeScript, type StoreScripts } from "../objects/scripts.ts";
import type { Blobs } from "./blobs.ts";
import { DiskBlobs } from "./disk.ts";
import { DiskSegments } from "./disk-segments.ts";
import numbersLua from "./numbers.lua" with { type: "text" };
import { S3Blobs } from "./s3/blobs.ts";
import { S3Place, type S3Settings } from "./s3/place.ts";
import { S3Segments } from "./s3/segments.ts";
import type { Segments } from "./segments.ts";
import type { Space } from "./space.ts";

const numbersScript = changeScript("segment_numbers", 0, numbersLua);
/** Numbers that are taken at once. */
const block = 64;

export interface Backend extends AsyncDisposable {
  readonly blobs: Blobs;
  readonly segments: Segments;
}

/**
 * Opens the backend. `owner` is the Store, or what stands in for it; others only
 * read. Errors: `invalid_argument` for settings that don't fit, `unavailable`.
 */
export async function openBackend(
  config: StoreConfig,
  dataDir: string,
  space: Space,
  scripts: StoreScripts,
  owner: boolean,
): Promise<Backend> {
  await using stack = new AsyncDisposableStack();
  if (config.blobBackend === "disk") {
    const blobs = stack.use(await DiskBlobs.open(dataDir, space, owner));
    const segments = stack.use(await DiskSegments.open(dataDir, space, config.segmentBytes));
    const resources = stack.move();
    return { blobs, segments, [Symbol.asyncDispose]: () => resources.disposeAsync() };
  }
  const place = new S3Place(s3Settings(config, config.s3Bucket, config.s3Prefix));
  const blobs = stack.use(new S3Blobs(place));
  const segments = stack.use(await S3Segments.open(place, numbersOf(scripts), config.segmentBytes));
  const resources = stack.move();
  return { blobs, segments, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

/** The S3 service of the configuration. Errors: `invalid_argument` naming what is missing. */
export function s3Settings(
  config: StoreConfig,
  bucket: string | undefined,
  prefix: string,
): S3Settings {
  const secret = config.s3SecretAccessKey ?? secretIn(config.s3SecretFile);
  return {
    endpoint: config.s3Endpoint?.replace(/\/$/, ""),
    region: config.s3Region,
    bucket: given(bucket, "s3Bucket"),
    prefix: prefix === "" || prefix.endsWith("/") ? prefix : `${prefix}/`,
    accessKeyId: given(config.s3AccessKeyId, "s3AccessKeyId"),
    secretAccessKey: given(secret, "s3SecretFile"),
  };
}

function given(value: string | undefined, setting: string): string {
  if (value !== undefined && value !== "") return value;
  throw new Fault("invalid_argument", `${setting}: an S3 service needs it`, {
    field: setting,
    help:
      setting === "s3SecretFile"
        ? "name a file that has the secret, or put it into SPEAR_STORE_S3_SECRET_ACCESS_KEY"
        : "see spear store --help",
  });
}

function secretIn(path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    throw new Fault("invalid_argument", `s3SecretFile: can't read ${path}`, {
      field: "s3SecretFile",
      cause: error,
    });
  }
}

/**
 * Numbers of segments from Redis, a block at a time. A Store whose epoch is over
 * gets none, so that it never writes over what the next one has put.
 */
function numbersOf(scripts: StoreScripts): (atLeast: number) => Promise<number> {
  let next = 0;
  let end = 0;
  let taking: Promise<void> | undefined;
  return async (atLeast) => {
    while (next === end) {
      taking ??= scripts
        // What Redis has lost may be under way still: those numbers are passed over.
        .change(numbersScript, [], [block, atLeast === 0 ? 0 : atLeast + block])
        .then(({ rest }) => {
          next = rest[1] as number;
          end = next + block;
        })
        .finally(() => (taking = undefined));
      await taking;
    }
    return next++;
  };
}
