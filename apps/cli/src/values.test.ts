import { describe, expect, test } from "bun:test";
import {
  collectInput,
  collectOutput,
  collectPair,
  formatBytes,
  formatDuration,
  parseAmount,
  parseBytes,
  parseCount,
  parseDurationMs,
  parseEnvFile,
  parseIdOf,
  parseObjectName,
} from "./values.ts";

describe("what people write", () => {
  test.each([
    ["250ms", 250],
    ["30s", 30_000],
    ["1.5m", 90_000],
    ["2h", 7_200_000],
    ["1d", 86_400_000],
  ])("the duration %s", (text, ms) => {
    expect(parseDurationMs(text)).toBe(ms);
  });

  test.each(["", "5", "5x", "-1s", "1 s", "s", "1e3s", "0x1s"])("no duration: %p", (text) => {
    expect(() => parseDurationMs(text)).toThrow("Write it as 250ms");
  });

  test.each([
    ["0", 0],
    ["1024", 1024],
    ["64Mi", 64 * 2 ** 20],
    ["64MiB", 64 * 2 ** 20],
    ["1G", 1e9],
    ["1.5Gi", 1.5 * 2 ** 30],
    ["4k", 4_000],
    ["4K", 4_000],
    ["4Ki", 4_096],
    ["2T", 2e12],
  ])("the size %s", (text, bytes) => {
    expect(parseBytes(text)).toBe(bytes);
  });

  test.each(["", "Mi", "-1", "1m", "1 Mi", "1e6", "0x10", "1Pi"])("no size: %p", (text) => {
    expect(() => parseBytes(text)).toThrow("Write it as 1024");
  });

  test("numbers", () => {
    expect(parseCount("12")).toBe(12);
    expect(parseAmount("0.5")).toBe(0.5);
    for (const text of ["-1", "1.5", "", "x", "1e3"]) expect(() => parseCount(text)).toThrow();
    for (const text of ["-1", "", ".5", "1.", "NaN", "Infinity"]) {
      expect(() => parseAmount(text)).toThrow();
    }
  });

  test("pairs join those before, and a value may hold '='", () => {
    expect(collectPair("B=2=3", collectPair("A=", undefined))).toEqual({ A: "", B: "2=3" });
    expect(() => collectPair("=1", undefined)).toThrow("NAME=VALUE");
    expect(() => collectPair("A", undefined)).toThrow("NAME=VALUE");
  });

  test("names of objects", () => {
    expect(parseObjectName("corpus/a/b:c.txt")).toEqual({ bucket: "corpus", key: "a/b:c.txt" });
    for (const text of [
      "corpus",
      "corpus/",
      "/a",
      "Corpus/a",
      "ab/x",
      "corpus/..",
      "corpus/a/../b",
    ]) {
      expect(() => parseObjectName(text)).toThrow();
    }
  });

  test("what goes in and out of a work directory", () => {
    expect(collectInput("corpus/a:b/in.txt", undefined)).toEqual([
      { object: "corpus/a", path: "b/in.txt" },
    ]);
    expect(collectInput("corpus/x/y:z:in.txt", [])[0]).toEqual({
      object: "corpus/x/y:z",
      path: "in.txt",
    });
    expect(collectInput("corpus/x/y.txt", [])[0]?.path).toBe("y.txt");
    expect(collectOutput("out.txt:results/a:b", undefined)).toEqual([
      { path: "out.txt", object: "results/a:b" },
    ]);
    expect(() => collectInput("corpus", undefined)).toThrow();
    expect(() => collectInput("corpus/a:", undefined)).toThrow();
    expect(() => collectOutput("out.txt", undefined)).toThrow();
    expect(() => collectOutput(":results/a", undefined)).toThrow();
  });

  test("a file of variables", () => {
    expect(parseEnvFile("# said\n\nA=1\r\n B = x=y\n", "env")).toEqual({ A: "1", B: " x=y" });
    expect(() => parseEnvFile("A=1\nnonsense\n", "my.env")).toThrow("line 2 of my.env");
  });

  test("ids", () => {
    const id = "task_01JD3T1V7Z8Q4N5M6P7R8S9T0A";
    expect(parseIdOf("task")(id)).toBe(id);
    for (const text of ["..", "node_01JD3T1V7Z8Q4N5M6P7R8S9T0A", "task_1", `${id}/x`]) {
      expect(() => parseIdOf("task")(text)).toThrow("no task id");
    }
  });
});

describe("what people read", () => {
  test.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1536, "1.5 KiB"],
    [2 ** 20, "1 MiB"],
    [300 * 2 ** 20, "300 MiB"],
    [2 ** 30, "1 GiB"],
  ])("%d bytes", (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  test.each([
    [-5, "0ms"],
    [999, "999ms"],
    [1_540, "1.5s"],
    [59_600, "1m"],
    [90_500, "1m31s"],
    [3_600_000, "1h"],
    [3_725_000, "1h2m"],
    [90_000_000, "1d1h"],
  ])("%d ms", (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });
});
