import { expect, test } from "bun:test";
import fc from "fast-check";
import { Channel } from "./channel.ts";

async function all<T>(channel: Channel<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of channel) items.push(item);
  return items;
}

test("items come out once, in order, before the end", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer(), { maxLength: 3_000 }), async (items) => {
      const channel = new Channel<number>(3_000);
      const read = all(channel);
      for (const item of items) expect(channel.push(item)).toBe(true);
      channel.close();
      expect(await read).toEqual(items);
    }),
    { numRuns: 20 },
  );
});

test("a full or closed channel refuses", async () => {
  const channel = new Channel<number>(2);
  expect([1, 2, 3].map((item) => channel.push(item))).toEqual([true, true, false]);
  channel.close();
  expect(channel.push(4)).toBe(false);
  expect(await all(channel)).toEqual([1, 2]);
});

test("a failure comes after what was pushed before it", async () => {
  const channel = new Channel<number>(10);
  channel.push(1);
  channel.close(new Error("broken"));
  const seen: number[] = [];
  const read = (async () => {
    for await (const item of channel) seen.push(item);
  })();
  expect(read).rejects.toThrow("broken");
  await read.catch(() => undefined);
  expect(seen).toEqual([1]);
});
