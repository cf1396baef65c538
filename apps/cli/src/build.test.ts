import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fault } from "@spear/shared/fault.ts";
import { build } from "./build.ts";
import { slotBytes, slotFill, slotMark, withScript } from "./guest/slot.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "spear-build-"));
});
afterAll(() => rm(directory, { recursive: true }));

async function refusal(name: string, text?: string): Promise<Fault> {
  const path = join(directory, name);
  if (text !== undefined) await writeFile(path, text);
  const error: unknown = await build(path, directory).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof Fault)) throw new Error(`not refused: ${String(error)}`);
  expect(error.code).toBe("invalid_argument");
  return error;
}

test("a script that can't be built says where", async () => {
  expect((await refusal("none.ts")).message).toContain("can't read");
  expect((await refusal("wrong.ts", "const a = 1;\nconst = 2;\n")).message).toMatch(
    /wrong\.ts:2:\d+: /,
  );
  const lost = await refusal("lost.ts", 'import { x } from "./nowhere.ts";\nconsole.log(x);\n');
  expect(lost.message).toMatch(/lost\.ts:1:\d+: .*nowhere/);
});

test("a script goes into the engine's slot, and all else stays as it is", () => {
  const slot = Buffer.alloc(slotBytes, slotFill);
  slot.write(slotMark);
  const engine = Buffer.concat([Buffer.from(`code with "${slotMark}" in it`), slot, slot]);
  const made = Buffer.from(withScript(engine, "é"));
  expect(made.length).toBe(engine.length);
  const at = engine.indexOf(slot) + slotMark.length;
  expect([made.readUInt32LE(at), made.toString("utf8", at + 4, at + 6)]).toEqual([2, "é"]);
  made.fill(slotFill, at, at + 6);
  expect(made.equals(engine)).toBe(true);
  expect(() => withScript(engine, "x".repeat(slotBytes))).toThrow("of at most");
  expect(() => withScript(Buffer.alloc(9), "x")).toThrow("no slot");
});
