import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { favourMoves } from "./migration.ts";

const isFavoured = () => /name=spear:/.test(readFileSync("/proc/self/cgroup", "utf8"));

test("moves are favoured for as long as somebody holds the hierarchy", () => {
  const first = favourMoves();
  const second = favourMoves();
  // Who may not do it goes without.
  expect(isFavoured()).toBe(first !== undefined);
  expect(second === undefined).toBe(first === undefined);
  first?.[Symbol.dispose]();
  expect(isFavoured()).toBe(second !== undefined);
  second?.[Symbol.dispose]();
});
