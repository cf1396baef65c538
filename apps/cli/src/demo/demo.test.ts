import type { Task } from "@spear/shared/task.ts";
import { describe, expect, test } from "bun:test";
import { countWords, gatherCorpus, parseCounts, partsOf } from "./corpus.ts";
import { timeline, topWords } from "./report.ts";

describe("the corpus", () => {
  test("is some MB of text, the same each time", async () => {
    const first = await gatherCorpus();
    const second = await gatherCorpus();
    expect(first.text.length).toBeGreaterThan(1 << 20);
    expect(first.text.equals(second.text)).toBe(true);
    expect(first.files).toBe(second.files);
  });

  test("is cut at ends of lines, and the parts are the whole", () => {
    const text = Buffer.from("one two\nthree\n\nfour five six\nseven");
    for (const count of [1, 2, 3, 8, 50]) {
      const parts = partsOf(text, count);
      expect(parts).toHaveLength(count);
      expect(Buffer.concat(parts).equals(text)).toBe(true);
      for (const part of parts.slice(0, -1)) {
        if (part.length > 0 && !part.equals(text.subarray(-part.length))) {
          expect(part.at(-1)).toBe(10);
        }
      }
    }
  });

  test("words are runs of letters", () => {
    const counts = countWords(Buffer.from("It's the THE, caf\u00e9 x2y"));
    expect(Object.fromEntries(counts)).toEqual({ it: 1, s: 1, the: 2, caf: 1, x: 1, y: 1 });
  });

  test("a result with anything else is refused", () => {
    expect([...parseCounts("3 the\n1 a\n")]).toEqual([
      ["the", 3],
      ["a", 1],
    ]);
    expect(() => parseCounts("3 the\nsh: oops\n")).toThrow("oops");
  });
});

test("the timeline puts each task on its node, in time", () => {
  const task = (name: string, nodeId: string, startedAtMs: number, finishedAtMs: number): Task => ({
    id: name,
    jobId: name,
    name,
    spec: {},
    state: "succeeded",
    attempt: 1,
    runtime: "process",
    seq: 1,
    createdAtMs: 0,
    cancelRequested: false,
    outputs: [],
    failures: 0,
    nodeId,
    startedAtMs,
    finishedAtMs,
  });
  const tasks = [task("b", "n2", 500, 1_000), task("a", "n1", 0, 500), task("c", "n1", 990, 1_000)];
  const nodes = new Map([
    ["n1", "node-1"],
    ["n2", "node-2"],
  ]);
  const half = " ".repeat(24);
  const full = "#".repeat(24);
  expect(timeline(tasks, nodes)).toBe(
    [
      `              0${"1.0s".padStart(47)}`,
      `  node-1   a |${full}${half}| 500ms`,
      `           c |${" ".repeat(47)}#| 10ms`,
      `  node-2   b |${half}${full}| 500ms`,
      "",
    ].join("\n"),
  );
});

test("the top words have bars of their share", () => {
  const counts = new Map([
    ["the", 100],
    ["of", 50],
    ["rare", 1],
  ]);
  expect(topWords(counts, 2)).toBe(
    `  the  100  ${"#".repeat(32)}\n  of    50  ${"#".repeat(16)}\n`,
  );
});
