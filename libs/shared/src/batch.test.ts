import { expect, test } from "bun:test";
import { Batch, BatchedCalls } from "./batch.ts";

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

test("calls of one turn are carried out together, each answered or refused for itself", async () => {
  const rounds: number[][] = [];
  const halves = new BatchedCalls<number, number>(2, (asked) => {
    rounds.push([...asked]);
    if (asked.includes(9)) return Promise.reject(new Error("all lost"));
    return Promise.resolve(asked.map((n) => (n % 2 === 0 ? n / 2 : new Error(`${n} is odd`))));
  });
  const answers = await Promise.allSettled([4, 3, 8, 9].map((n) => halves.call(n)));
  expect(rounds).toEqual([
    [4, 3],
    [8, 9],
  ]);
  expect(answers.map((a) => (a.status === "fulfilled" ? a.value : String(a.reason)))).toEqual([
    2,
    "Error: 3 is odd",
    "Error: all lost",
    "Error: all lost",
  ]);
});
