import { expect, test } from "bun:test";
import { CachedNames } from "./cached.ts";

let nowMs = 0;
const clock = { nowMs: () => nowMs, wait: () => Promise.resolve() };

test("names are told when they change, and again after a while", () => {
  let objects = ["in/a"];
  const cached = new CachedNames(() => objects, clock);
  expect(cached.news()).toEqual(["in/a"]);
  expect(cached.news()).toBeUndefined();
  objects = [];
  expect(cached.news()).toEqual([]);
  nowMs += 15_000;
  expect(cached.news()).toEqual([]);
});

test("images and modules come first, the last used before others, and no more than a few", () => {
  const cached = new CachedNames(() => ["in/a"], clock);
  cached.prepared({ docker: { image: "debian:12" } });
  cached.prepared({ wasm: { module: "apps/one.wasm" } });
  cached.prepared({ docker: { image: "debian:12" } });
  expect(cached.news()).toEqual(["debian:12", "apps/one.wasm", "in/a"]);
  for (let index = 0; index < 100; index += 1) cached.prepared({ docker: { image: `i${index}` } });
  const names = cached.news() ?? [];
  expect(names.length).toBe(65);
  expect(names[0]).toBe("i99");
});

test("all together stay small, however long they are", () => {
  const long = Array.from({ length: 100 }, (_, index) => `in/${index}${"x".repeat(1_000)}`);
  const names = new CachedNames(() => long, clock).news() ?? [];
  expect(names.join("").length).toBeLessThanOrEqual(16 << 10);
  expect(names.length).toBe(16);
});
