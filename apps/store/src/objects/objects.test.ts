/** The service of objects over a real Redis and disk. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import * as fc from "fast-check";
import { Fault } from "@spear/shared/fault.ts";
import { startTestStore, type TestStore } from "../../../../tests/store.ts";
import type { Objects } from "./objects.ts";

let running: TestStore;
let objects: Objects;
beforeAll(async () => {
  running = await startTestStore();
  ({ objects } = running.store);
});
afterAll(() => running[Symbol.asyncDispose]());

const never = new AbortController().signal;

async function* bodyOf(text: string) {
  if (text !== "") yield Buffer.from(text);
}

const put = (bucket: string, key: string, text = key) =>
  objects.put({ bucket, key }, bodyOf(text), never);

async function read(target: Parameters<Objects["open"]>[0]): Promise<string> {
  let text = "";
  for await (const piece of (await objects.open(target, never)).body) text += piece.toString();
  return text;
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => "ok",
    (error: unknown) => Fault.from(error).code,
  );

test("buckets are made, listed and removed when empty", async () => {
  const { buckets } = running.store;
  const made = await buckets.create("life", false);
  expect(await codeOf(buckets.create("life", false))).toBe("bucket_exists");
  expect(await buckets.create("life", true)).toEqual(made);
  expect(await buckets.list()).toContainEqual(made);
  await put("life", "x");
  expect(await codeOf(buckets.remove("life"))).toBe("bucket_not_empty");
  expect(await objects.delete({ bucket: "life", key: "x" })).toBe(true);
  expect(await objects.delete({ bucket: "life", key: "x" })).toBe(false);
  await buckets.remove("life");
  expect(await codeOf(buckets.remove("life"))).toBe("bucket_not_found");
  expect(await codeOf(put("life", "x"))).toBe("bucket_not_found");
});

test("pages cover a bucket as a plain sort and grouping would", async () => {
  let serial = 0;
  const part = fc.constantFrom("a", "b", "ä", "/", "//", "0", "￮", "😀");
  const key = fc.array(part, { minLength: 1, maxLength: 5 }).map((parts) => parts.join(""));
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(key, { maxLength: 12 }),
      fc.constantFrom("", "a", "a/", "ä", "b/"),
      fc.constantFrom("", "/", "a"),
      fc.integer({ min: 1, max: 4 }),
      fc.oneof(fc.constant(""), key),
      async (keys, prefix, delimiter, pageSize, startAfter) => {
        const bucket = `pages-${++serial}`;
        await running.store.buckets.create(bucket, false);
        for (const one of keys) await put(bucket, one);
        const expected: string[] = [];
        for (const one of keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))) {
          if (!one.startsWith(prefix)) continue;
          if (Buffer.compare(Buffer.from(one), Buffer.from(startAfter)) <= 0) continue;
          const cut = delimiter === "" ? -1 : one.indexOf(delimiter, prefix.length);
          const shown = cut < 0 ? one : `p:${one.slice(0, cut + delimiter.length)}`;
          if (cut >= 0 && startAfter.startsWith(shown.slice(2))) continue;
          if (expected.at(-1) !== shown) expected.push(shown);
        }
        const seen: string[] = [];
        let pageToken: string | undefined;
        do {
          const page = await objects.list({
            bucket,
            prefix,
            delimiter,
            pageSize,
            startAfter,
            pageToken,
          });
          const shown = [...page.objects.map((o) => o.key), ...page.prefixes.map((p) => `p:${p}`)];
          expect(shown.length).toBeLessThanOrEqual(pageSize);
          if (page.nextPageToken !== undefined) expect(shown.length).toBe(pageSize);
          seen.push(...shown);
          ({ nextPageToken: pageToken } = page);
        } while (pageToken !== undefined);
        expect(seen.toSorted()).toEqual(expected.toSorted());
      },
    ),
    { numRuns: 60 },
  );
});

test("a listing refuses what is not its token", async () => {
  await running.store.buckets.create("tokens", false);
  expect(await codeOf(objects.list({ bucket: "tokens", pageToken: "%%%" }))).toBe(
    "invalid_argument",
  );
  expect(await codeOf(objects.list({ bucket: "tokens", pageSize: 1_001 }))).toBe(
    "invalid_argument",
  );
  expect(await codeOf(objects.list({ bucket: "nowhere" }))).toBe("bucket_not_found");
});

test("a copy is the same object; its names live and die on their own", async () => {
  await running.store.buckets.create("source", false);
  await running.store.buckets.create("target", false);
  const source = await put("source", "one", "text");
  const copy = await objects.copy({
    source: { bucket: "source", key: "one" },
    bucket: "target",
    key: "two",
  });
  expect(copy).toMatchObject({ id: source.id, bucket: "target", key: "two" });
  expect(copy.generation).toBeGreaterThan(source.generation);
  await objects.copy({ source: source.id, bucket: "target", key: "three" });
  await objects.delete({ bucket: "source", key: "one" });
  expect(await read({ bucket: "target", key: "two" })).toBe("text");
  const byId = await objects.head(source.id);
  expect(["two", "three"]).toContain(byId.key);
  await objects.delete({ bucket: "target", key: byId.key });
  expect((await objects.head(source.id)).key).not.toBe(byId.key);
  await objects.delete({ bucket: "target", key: (await objects.head(source.id)).key });
  expect(await objects.head(source.id)).toMatchObject({ bucket: "", key: "" });
});

test("a copy with its own attributes is an object of its own", async () => {
  await running.store.buckets.create("attributes", false);
  const source = await put("attributes", "one", "text");
  const copy = await objects.copy({
    source: source.id,
    bucket: "attributes",
    key: "one",
    replace: { contentType: "text/html", metadata: { a: "b" } },
  });
  expect(copy.id).not.toBe(source.id);
  expect(copy).toMatchObject({
    contentType: "text/html",
    metadata: { a: "b" },
    sha256: source.sha256,
  });
  expect(await read({ bucket: "attributes", key: "one" })).toBe("text");
});

test("of concurrent writers with a condition exactly one wins (O4)", async () => {
  await running.store.buckets.create("race", false);
  const first = await put("race", "key", "start");
  const outcomes = await Promise.all(
    Array.from({ length: 32 }, (_, index) =>
      codeOf(
        objects.put(
          { bucket: "race", key: "key", condition: { ifGeneration: first.generation } },
          bodyOf(`writer ${index}`),
          never,
        ),
      ),
    ),
  );
  expect(outcomes.filter((code) => code === "ok").length).toBe(1);
  expect(outcomes.filter((code) => code === "precondition_failed").length).toBe(31);
  expect(await read({ bucket: "race", key: "key" })).toMatch(/^writer \d+$/);
});
