import { expect, test } from "bun:test";
import { sourceFindings } from "./source-rules.ts";

const redis = 'import { Redis } from "ioredis";\n';

test("a Redis key is found wherever it is spelled", () => {
  for (const line of [
    'redis.get("spear:seq")',
    "redis.get(`${prefix}:${id}`)",
    'redis.get(prefix + ":meta")',
    'redis.get("{spear}:task:" + id)',
  ]) {
    expect(sourceFindings("apps/sms/src/tasks/redis.ts", redis + line)).toHaveLength(1);
  }
  expect(sourceFindings("x.lua", "redis.call('GET', 'spear-seq:' .. id)")).toHaveLength(1);
  const lua = "redis.call('GET', ARGV[1] .. ':' .. id) -- a comment may say ':b'";
  expect(sourceFindings("apps/sms/src/tasks/get.lua", lua)).toEqual([
    "apps/sms/src/tasks/get.lua:1: ':' spells a Redis key, which only libs/shared/src/redis/keys.ts may",
  ]);
});

test("what is no key passes", () => {
  for (const line of [
    'import { join } from "node:path";',
    "const url = `http://${host}:${port}`;",
    'throw new Fault("internal", "no task: it is gone");',
    "const listen = `${host}:${port}`;",
    'const at = listen.lastIndexOf(":");',
    "const field = `ux:${name}`;",
    '/** Keys look like "spear:seq". */',
  ]) {
    expect(sourceFindings("apps/sms/src/tasks/redis.ts", redis + line)).toEqual([]);
  }
  const json = `redis.call('HSET', key, 'failure', '{"code":"x","message":"' .. m .. '"}')`;
  expect(sourceFindings("apps/sms/src/jobs/stop.lua", json)).toEqual([]);
  expect(sourceFindings("apps/sms/src/tasks/http.ts", 'const key = "a:b";')).toEqual([]);
  expect(sourceFindings("libs/shared/src/redis/keys.ts", `${redis}"a:b"`)).toEqual([]);
});

test("a skipped test is found", () => {
  const found = [
    "test.skip",
    "test.only",
    "describe.skip",
    "it.todo",
    "test.skipIf",
    "test.if",
  ].map((call) => sourceFindings("libs/shared/src/x.test.ts", `${call}("x", () => {});`).length);
  expect(found).toEqual([1, 1, 1, 1, 1, 1]);
  expect(sourceFindings("libs/shared/src/x.test.ts", 'test("skip", () => {});')).toEqual([]);
});
