import { describe, expect, test } from "bun:test";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryTooSmall, capMemory, kindOf, pageBytes, renameImport } from "./module.ts";
import { writeWat } from "./guests/build.ts";

async function binary(text: string): Promise<Uint8Array<ArrayBuffer>> {
  const folder = await mkdtemp(join(tmpdir(), "spear-module-"));
  try {
    return new Uint8Array(await readFile(await writeWat(join(folder, "module.wasm"), text)));
  } finally {
    await rm(folder, { recursive: true });
  }
}

function memoryOf(bytes: Uint8Array): WebAssembly.Memory {
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes));
  return instance.exports["m"] as WebAssembly.Memory;
}

describe("kindOf", () => {
  test("tells modules, components and the rest apart", () => {
    expect(kindOf(new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]))).toBe("core");
    expect(kindOf(new Uint8Array([0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0]))).toBe("component");
    expect(kindOf(new Uint8Array([0, 0x61, 0x73, 0x6d, 2, 0, 0, 0]))).toBeUndefined();
    expect(kindOf(new Uint8Array([0, 0x61, 0x73]))).toBeUndefined();
    expect(kindOf(new TextEncoder().encode("#!/bin/sh"))).toBeUndefined();
  });
});

describe("capMemory", () => {
  test("gives a memory without a maximum one", async () => {
    const memory = memoryOf(
      capMemory(await binary(`(module (memory (export "m") 1))`), 10 * pageBytes + 5),
    );
    expect(memory.grow(9)).toBe(1);
    expect(() => memory.grow(1)).toThrow();
  });

  test("lowers a maximum that is too high and leaves one that is lower", async () => {
    const high = memoryOf(
      capMemory(await binary(`(module (memory (export "m") 1 60000))`), 3 * pageBytes),
    );
    expect(high.grow(2)).toBe(1);
    expect(() => high.grow(1)).toThrow();
    const low = memoryOf(
      capMemory(await binary(`(module (memory (export "m") 1 2))`), 300 * pageBytes),
    );
    expect(low.grow(1)).toBe(1);
    expect(() => low.grow(1)).toThrow();
  });

  test("keeps everything else, also where lengths change their own size", async () => {
    const pages = 200 * pageBytes;
    const text = `(module
      (import "a" "f" (func))
      (memory (export "m") 1)
      (global (export "g") i32 (i32.const 7))
      (func (export "answer") (result i32) (i32.const 42))
      (data (i32.const 0) "${"x".repeat(300)}"))`;
    const capped = capMemory(await binary(text), pages);
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(capped), {
      a: { f: () => undefined },
    });
    expect((exports["answer"] as () => number)()).toBe(42);
    expect(new Uint8Array((exports["m"] as WebAssembly.Memory).buffer)[299]).toBe(120);
  });

  test("refuses a start that is too large", async () => {
    const bytes = await binary(`(module (memory (export "m") 20))`);
    expect(() => capMemory(bytes, 19 * pageBytes)).toThrow(MemoryTooSmall);
    expect(memoryOf(capMemory(bytes, 20 * pageBytes)).buffer.byteLength).toBe(20 * pageBytes);
  });

  test("passes on what has no memory or makes no sense, for the compiler to judge", async () => {
    const none = await binary(`(module (func (export "m")))`);
    expect(capMemory(none, pageBytes)).toEqual(none);
    const whole = await binary(`(module (memory (export "m") 1))`);
    for (let size = 0; size < whole.length; size++) {
      const cut = whole.slice(0, size);
      const capped = capMemory(cut, pageBytes);
      if (capped.length >= 8 && WebAssembly.validate(capped)) {
        expect(WebAssembly.validate(cut)).toBe(true);
      }
    }
  });
});

describe("renameImport", () => {
  const text = `(module
    (type $t (func (param i32)))
    (import "a" "table" (table 1 funcref))
    (import "a" "memory" (memory 1 2))
    (import "a" "global" (global (mut i32)))
    (import "a" "exit" (func (type $t)))
    (import "b" "exit" (func (type $t))))`;

  test("renames that one and no other", async () => {
    const to = { module: "elsewhere", name: "leave" };
    const bytes = renameImport(await binary(text), { module: "a", name: "exit" }, to);
    const module = new WebAssembly.Module(bytes);
    const imports = WebAssembly.Module.imports(module).map((one) => `${one.module}.${one.name}`);
    expect(imports).toEqual(["a.table", "a.memory", "a.global", "elsewhere.leave", "b.exit"]);
  });

  test("leaves a module without it as it is", async () => {
    const bytes = await binary(text);
    expect(renameImport(bytes, { module: "a", name: "none" }, { module: "b", name: "c" })).toEqual(
      bytes,
    );
  });
});
