import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { systemIds } from "@spear/shared/ids.ts";
import { decodeRecord, encodeRecord, packId, timeOfId, unpackId } from "./record.ts";

const hex = (bytes: number) =>
  fc
    .uint8Array({ minLength: bytes, maxLength: bytes })
    .map((value) => Buffer.from(value).toString("hex"));
const chunk = fc.record({
  hash: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((value) => Buffer.from(value)),
  bytes: fc.integer({ min: 1, max: 8 << 20 }),
});
const texts = fc
  .dictionary(fc.stringMatching(/^[a-z]{1,9}$/), fc.stringMatching(/^[ -~]{0,9}$/))
  .map((value) => ({ ...value }));
const record = fc
  .record({
    names: fc.nat(),
    pinned: fc.boolean(),
    hasRefs: fc.boolean(),
    sizeBytes: fc.maxSafeNat(),
    sha256: fc.oneof(hex(32), fc.constant("")),
    etag: fc.stringMatching(/^[0-9a-f]{1,32}(-\d{1,4})?$/),
    bucket: fc.stringMatching(/^[a-z]{0,63}$/),
    key: fc.string({ unit: "grapheme", maxLength: 200 }),
    contentType: fc.constantFrom("text/plain", "application/octet-stream"),
    metadata: texts,
    headers: texts,
    tags: texts,
    chunks: fc.array(chunk, { maxLength: 5 }),
  })
  .map((value) => ({ ...value, etag: value.sha256 === "" ? value.etag : value.sha256 }));

test("a record reads back as it was written", () => {
  fc.assert(
    fc.property(record, (value) => {
      expect(decodeRecord(encodeRecord(value))).toEqual(value);
    }),
  );
});

test("an id packs into 16 bytes that sort as it does and keep its time", () => {
  const before = Date.now();
  const ids = Array.from({ length: 50 }, () => systemIds.next("obj"));
  const packed = ids.map(packId);
  expect(packed.map(unpackId)).toEqual(ids);
  expect(packed.toSorted(Buffer.compare)).toEqual(packed);
  for (const bytes of packed) {
    expect(bytes.length).toBe(16);
    expect(timeOfId(bytes)).toBeGreaterThanOrEqual(before);
    expect(timeOfId(bytes)).toBeLessThanOrEqual(Date.now());
  }
});
