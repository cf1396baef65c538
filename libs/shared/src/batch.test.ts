import { expect, test } from "bun:test";
import { Batch } from "./batch.ts";

test("what comes in one turn goes on together and in order, the next turn's apart", async () => {
  const flushed: number[][] = [];
  const batch = new Batch<number>((items) => flushed.push(items));
  batch.add(1);
  batch.add(2);
  expect(flushed).toEqual([]);
  await new Promise((resolve) => setImmediate(resolve));
  batch.add(3);
  await new Promise((resolve) => setImmediate(resolve));
  expect(flushed).toEqual([[1, 2], [3]]);
});
