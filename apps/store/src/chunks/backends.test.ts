/** What every backend of blobs and segments promises: local disk, an S3 service that is not ours, and ours. */
import {
  afterAll,
  afterEach,
  beforeAll,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import { startForeignS3, startOwnS3, type S3Service } from "../../../../tests/s3rver.ts";
import type { Blobs } from "./blobs.ts";
import { hashOf, placeInSegment } from "./chunk.ts";
import { DiskBlobs } from "./disk.ts";
import { DiskSegments } from "./disk-segments.ts";
import { S3Blobs } from "./s3/blobs.ts";
import { S3Place } from "./s3/place.ts";
import { S3Segments } from "./s3/segments.ts";
import type { Segments } from "./segments.ts";
import { Space } from "./space.ts";

// A process of another runtime starts here.
setDefaultTimeout(30_000);

const bucket = "backends";
const segmentBytes = 8 << 20;
let directory: string;
let foreign: S3Service;
let own: S3Service;
let serial = 0;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "spear-backends-"));
  [foreign, own] = await Promise.all([startForeignS3(bucket), startOwnS3(bucket)]);
});
const opened: AsyncDisposable[] = [];
afterEach(() => Promise.all(opened.splice(0).map((one) => one[Symbol.asyncDispose]())));
afterAll(async () => {
  await Promise.all([foreign, own].map((one) => one[Symbol.asyncDispose]()));
  await rm(directory, { recursive: true });
});

interface Opened {
  blobs: Blobs;
  segments: Segments;
}

async function open(kind: Kind, place = kind.place()): Promise<Opened> {
  const found = await kind.open(place);
  opened.push(found.blobs, found.segments);
  return found;
}

/** Where a backend lies, and how it is opened there, again and again. */
interface Kind {
  place: () => string;
  open: (place: string) => Promise<Opened>;
  /** More than one list gives at once. */
  many: number;
}

let number = 0;
const s3Place = (
  prefix: string,
  { endpoint, accessKeyId, secretAccessKey }: Omit<S3Service, keyof AsyncDisposable> = foreign,
  name = bucket,
) =>
  new S3Place({
    endpoint,
    region: "us-east-1",
    bucket: name,
    prefix,
    accessKeyId,
    secretAccessKey,
  });

const s3Kind = (service: () => S3Service, many: number): Kind => ({
  many,
  place: () => `${++serial}/`,
  open: async (place) => {
    const s3 = s3Place(place, service());
    const next = (atLeast: number) => Promise.resolve((number = Math.max(number, atLeast) + 1));
    return { blobs: new S3Blobs(s3), segments: await S3Segments.open(s3, next, segmentBytes) };
  },
});

const kinds: Record<string, Kind> = {
  disk: {
    many: 120,
    place: () => join(directory, String(++serial)),
    open: async (place) => {
      const space = new Space(directory, 0);
      return {
        blobs: await DiskBlobs.open(place, space),
        segments: await DiskSegments.open(place, space, segmentBytes),
      };
    },
  },
  "a foreign S3 service": s3Kind(() => foreign, 1_020),
  "our own S3 face": s3Kind(() => own, 120),
};

const nameOf = (index: number) =>
  `${hashOf(Buffer.from(`${index}`)).toString("hex")}.${"0".repeat(16)}`;
const gather = async <T>(all: AsyncIterable<T>) => {
  const found: T[] = [];
  for await (const one of all) found.push(one);
  return found;
};

describe.each(Object.entries(kinds))("%s", (_, kind) => {
  test("a blob is read as it was written, as far as the buffer or the blob goes", async () => {
    const { blobs } = await open(kind);
    const bytes = Buffer.from(crypto.getRandomValues(new Uint8Array(60_000)));
    const large = Buffer.alloc(8 << 20, bytes);
    await blobs.write(nameOf(1), bytes);
    await blobs.write(nameOf(2), large);
    const same = Buffer.alloc(bytes.length);
    expect(await blobs.read(nameOf(1), same)).toBe(bytes.length);
    expect(same.equals(bytes)).toBe(true);
    const longer = Buffer.alloc(large.length + 5);
    expect(await blobs.read(nameOf(2), longer)).toBe(large.length);
    expect(longer.subarray(0, large.length).equals(large)).toBe(true);
    const shorter = Buffer.alloc(10);
    expect(await blobs.read(nameOf(1), shorter)).toBe(10);
    expect(shorter.equals(bytes.subarray(0, 10))).toBe(true);
    expect(await blobs.read(nameOf(1), Buffer.alloc(0))).toBe(0);
    expect(await blobs.read(nameOf(4), shorter)).toBeUndefined();
    expect(await blobs.read(nameOf(4), Buffer.alloc(0))).toBeUndefined();
  });

  test("a removed blob is gone, and may be removed again", async () => {
    const { blobs } = await open(kind);
    await blobs.write(nameOf(1), Buffer.from("x"));
    await blobs.remove(nameOf(1));
    await blobs.remove(nameOf(1));
    expect(await blobs.read(nameOf(1), Buffer.alloc(1))).toBeUndefined();
    expect(await gather(blobs.list())).toEqual([]);
  });

  test("the list has all blobs with their sizes, however many, and nothing of another place", async () => {
    const { blobs } = await open(kind);
    const other = await open(kind);
    await other.blobs.write(nameOf(0), Buffer.alloc(1));
    const before = Date.now() - 2_000;
    for (let from = 0; from < kind.many; from += 60) {
      await Promise.all(
        Array.from({ length: 60 }, (__, index) =>
          blobs.write(nameOf(from + index), Buffer.alloc((from + index) % 7)),
        ),
      );
    }
    const found = await gather(blobs.list());
    const sizes = new Map(found.map(({ name, bytes }) => [name, bytes]));
    expect(sizes.size).toBe(kind.many);
    expect(sizes.get(nameOf(kind.many - 20))).toBe((kind.many - 20) % 7);
    expect(found.every(({ modifiedAtMs }) => modifiedAtMs > before)).toBe(true);
  });

  test("small chunks that come together share segments, and are read one by one", async () => {
    const { segments } = await open(kind);
    const chunks = Array.from({ length: 200 }, (__, index) => Buffer.alloc(index * 3, `${index}`));
    const locations = await Promise.all(
      chunks.map((bytes) => segments.append(hashOf(bytes), bytes)),
    );
    expect(new Set(locations.map((one) => one.toString("hex"))).size).toBe(200);
    const used = new Set(locations.map((one) => placeInSegment(one)?.segment));
    expect(used.size).toBeLessThan(10);
    for (const index of [0, 1, 77, 199]) {
      const target = Buffer.alloc(chunks[index]?.length ?? 0);
      expect(await segments.read(locations[index] as Buffer, target)).toBe(target.length);
      expect(target.equals(chunks[index] as Buffer)).toBe(true);
    }
  });

  test("a segment is sealed once its chunks are settled, has its entries, and can go", async () => {
    const place = kind.place();
    const { segments } = await open(kind, place);
    const chunks = [Buffer.from("one"), Buffer.from("two")];
    const locations = await Promise.all(
      chunks.map((bytes) => segments.append(hashOf(bytes), bytes)),
    );
    expect(await segments.sealed()).toEqual([]);
    for (const location of locations) segments.settle(location);
    const again = (await open(kind, place)).segments;
    const [sealed, ...others] = await again.sealed();
    expect(others).toEqual([]);
    const { segment } = sealed as { segment: number };
    const entries = await gather(again.entries(segment));
    expect(entries.map(({ data, intact }) => [data.toString(), intact])).toEqual([
      ["one", true],
      ["two", true],
    ]);
    expect(entries.map(({ location }) => location)).toEqual(locations);
    const third = Buffer.from("three");
    const later = await again.append(hashOf(third), third);
    expect(placeInSegment(later)?.segment).toBeGreaterThan(segment);
    await again.remove(segment);
    await again.remove(segment);
    expect(await again.read(locations[0] as Buffer, Buffer.alloc(3))).toBeUndefined();
    expect(await again.read(later, Buffer.alloc(5))).toBe(5);
  });
});

describe("an S3 service that can't be used", () => {
  const faultOf = (work: Promise<unknown>) =>
    work.then(
      () => undefined,
      (error: unknown) => Fault.from(error),
    );

  test("is said to be, with what to look at", async () => {
    const away = await faultOf(
      s3Place("", { ...foreign, endpoint: "http://127.0.0.1:1" }).put("a", Buffer.from("x")),
    );
    expect(away).toMatchObject({ code: "unavailable" });
    expect(away?.message).toBe("s3://backends/ can't be used: ConnectionRefused");
    const none = await faultOf(s3Place("", foreign, "no-such").put("a", Buffer.from("x")));
    expect(none?.message).toBe("s3://no-such/ can't be used: NoSuchBucket");
    expect(none?.help).toStartWith("check the bucket's name");
  });
});
