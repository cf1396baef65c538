import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cp, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { readFileSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { allProcesses, isAlive, type ProcessId } from "../../machine/proc.ts";
import { AgentFailure } from "../agent.ts";
import { guest, makeSuite } from "./guests/build.ts";
import { Preview1 } from "./preview1/host.ts";
import { moduleObject, programName } from "./source.ts";
import { runSuite } from "./suite.ts";
import { Bench, body, eventually, hello } from "./testing.ts";

const MIB = 1024 * 1024;
/** A thousand are as good, and take ten times as long. */
const badRuns = Number(process.env["SPEAR_TEST_BAD_RUNS"] ?? 100);
const greeting = new URL("./guests/preview1/tree.dir/", import.meta.url).pathname;
const forever = body("(loop (br 0))");

/** Writes the same 32 KiB again and again, `times` or for ever. */
const shout = (times: number) => `(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\\10\\00\\00\\00\\00\\80\\00\\00\\ff\\fe\\00")
  (func (export "_start") (local $left i32)
    (local.set $left (i32.const ${times}))
    (loop $again
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $again (local.get $left)))))`;

function children(): number[] {
  return allProcesses()
    .filter(({ parent }) => parent === process.pid)
    .map(({ pid }) => pid);
}

describe("a guest", () => {
  let bench: Bench;
  beforeAll(async () => {
    bench = await Bench.open({ idle: 2 });
  });
  afterAll(() => bench[Symbol.asyncDispose]());

  test("prints and ends", async () => {
    const ended = await bench.run({ module: hello });
    expect(ended).toMatchObject({ exitCode: 0, stdout: "hello\n", stderr: "" });
    expect(ended.usage.maxMemoryBytes).toBe(65_536);
  });

  test("in C has its directory, arguments and environment", async () => {
    await cp(join(greeting, "greeting.txt"), join(bench.workDir, "in.txt"));
    const ended = await bench.run({
      module: await guest("report.c"),
      wasm: { args: ["in.txt", "out.txt"] },
      env: { WHO: "guest" },
    });
    expect(ended).toMatchObject({ exitCode: 0, stdout: "guest copied 18 bytes\n" });
    expect(await readFile(join(bench.workDir, "out.txt"), "utf8")).toBe("hello from a file\n");
  });

  test("in C has its own exit code and words", async () => {
    const ended = await bench.run({
      module: await guest("report.c"),
      wasm: { args: ["none.txt", "out.txt"] },
    });
    expect(ended.exitCode).toBe(3);
    expect(ended.stderr).toContain("none.txt: No such file");
    expect(ended.failure).toBeUndefined();
  });

  test("in AssemblyScript reads standard input, and says why it gave up", async () => {
    const module = await guest("words.as");
    const ended = await bench.run({
      module,
      stdin: "a few words",
      wasm: { args: ["and", "more"] },
    });
    expect(ended).toMatchObject({ exitCode: 0, stdout: "words: 3\nand\nmore\n" });
    const failed = await bench.run({ module, wasm: { args: ["fail"] } });
    expect(failed.exitCode ?? failed.failure?.code).not.toBe(0);
    expect(failed.stderr).toContain("told to fail");
  });

  test("ends with the code that it gives, exactly", async () => {
    const codes = [0, 1, 7, 125, 126, 200, 255, 256, -1];
    const ends = await Promise.all(
      codes.map(async (code) => {
        const exit = `(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))`;
        return (await bench.run({ module: body(`(call $exit (i32.const ${code}))`, exit) }))
          .exitCode;
      }),
    );
    expect(ends).toEqual([0, 1, 7, 125, 126, 200, 255, 256, 255]);
  });

  test("can raise a signal against itself", async () => {
    const raise = `(import "wasi_snapshot_preview1" "proc_raise" (func $raise (param i32) (result i32)))`;
    const ended = await bench.run({ module: body("(drop (call $raise (i32.const 6)))", raise) });
    expect(ended).toMatchObject({ signal: "SIGABRT" });
    expect(ended.exitCode).toBeUndefined();
  });

  test("sends output of any size and any bytes", async () => {
    const ended = await bench.run({ module: shout(1600) });
    expect(ended.stdout.length).toBe(50 * MIB);
    expect(ended.stdout.slice(8 * 4096 - 2, 8 * 4096 + 3)).not.toBe("");
    expect(Buffer.from(ended.stdout.slice(0, 1), "latin1")).toEqual(Buffer.from([0]));
  });

  test("is held back by a sink that takes nothing", async () => {
    const open = Promise.withResolvers<void>();
    let taken = 0;
    const running = await bench.start({
      module: shout(0),
      output: {
        write: (_stream, bytes) => {
          taken += bytes.length;
          return open.promise;
        },
      },
    });
    await eventually(() => taken > 0);
    const pid = running.pid ?? 0;
    // It sleeps in its write once the pipe is full, and uses no more CPU.
    let before = -1;
    await eventually(() => {
      const now = processCpu(pid);
      const still = now === before;
      before = now;
      return still;
    });
    const held = process.memoryUsage().rss;
    expect(taken).toBeLessThan(4 * MIB);
    expect(held).toBeLessThan(2048 * MIB);
    open.resolve();
    await running.stop(1000);
    expect(await running.exit).toMatchObject({ signal: "SIGTERM" });
  });

  test("that loops for ever is stopped, and its process is gone", async () => {
    const running = await bench.start({ module: forever });
    const id = JSON.parse(running.handle) as ProcessId;
    expect(id.pid).toBe(running.pid ?? 0);
    await eventually(() => processCpu(id.pid) > 5);
    expect((await running.usage()).cpuMs).toBeGreaterThan(0);
    await running.stop(5000);
    expect(await running.exit).toMatchObject({ signal: "SIGTERM" });
    expect((await running.exit).usage.cpuMs).toBeGreaterThan(0);
    expect(isAlive(id)).toBe(false);
    await running.stop(0);
  });

  test("has a read-only directory only to read", async () => {
    await using reader = await Bench.open({
      preopens: ({ workDir }) => [
        { guest: "/given", host: greeting, readOnly: true },
        { guest: "/own", host: workDir, readOnly: false },
      ],
    });
    await writeFile(join(reader.workDir, "own.txt"), "own");
    const ended = await reader.run({ module: await guest("readonly.c") });
    expect(ended).toMatchObject({ exitCode: 0, stderr: "" });
  });
});

function processCpu(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
}

describe("a bad guest has a failure of its own", () => {
  let bench: Bench;
  beforeAll(async () => {
    bench = await Bench.open({ idle: 2 });
  });
  afterAll(() => bench[Symbol.asyncDispose]());

  const grow = (pages: number, then: string) =>
    body(
      `(loop (if (i32.eq (memory.grow (i32.const ${pages})) (i32.const -1)) (then ${then})) (br 0))`,
      `(memory (export "memory") 1)`,
    );
  const cases: [name: string, module: string, code: string, message: RegExp][] = [
    ["unreachable", body("unreachable"), "trap", /unreachable/i],
    ["a division by zero", body("(drop (i32.div_s (i32.const 1) (i32.const 0)))"), "trap", /zero/i],
    [
      "a read outside of memory",
      body("(drop (i32.load (i32.const -1)))", `(memory (export "memory") 1)`),
      "trap",
      /out of bounds/i,
    ],
    ["a recursion without end", body("(call $start)"), "stack_overflow", /too deep/],
    [
      "a memory bomb",
      grow(16, "unreachable"),
      "out_of_memory",
      /of 67108864 bytes of memory in use/,
    ],
    [
      "a start with too much memory",
      body("", `(memory (export "memory") 2000)`),
      "out_of_memory",
      /131072000 bytes .* 67108864/,
    ],
    [
      "an import that no one has",
      body("", `(import "env" "frobnicate" (func)) (import "env" "memory" (memory 1))`),
      "missing_import",
      /env\.frobnicate \(function\), env\.memory \(memory\)/,
    ],
    [
      "an import of the wrong shape",
      body("", `(import "wasi_snapshot_preview1" "fd_levitate" (func))`),
      "missing_import",
      /fd_levitate/,
    ],
    ["nothing to run", `(module (func (export "main")))`, "invalid_module", /_start/],
    ["only a library", `(module (func (export "_initialize")))`, "invalid_module", /library/],
    ["an exception that nothing catches", body("(throw $e)", "(tag $e)"), "trap", /exception/],
  ];
  test.each(cases)("%s", async (_name, module, code, message) => {
    const ended = await bench.run({ module });
    expect(ended.failure?.code).toBe(code);
    expect(ended.failure?.message).toMatch(message);
    expect(ended.exitCode).toBeUndefined();
  });

  test("a table that grows without end", async () => {
    const tables = Array.from({ length: 16 }, (_, index) => `(table $t${index} 0 funcref)`);
    const more = tables.map(
      (_, index) => `(drop (table.grow $t${index} (ref.null func) (i32.const 100000)))`,
    );
    const module = body(`(loop ${more.join(" ")} (br 0))`, tables.join(" "));
    const running = await bench.start({ module });
    const timer = setTimeout(() => void running.stop(0), 10_000);
    const exit = await running.exit;
    clearTimeout(timer);
    // The engine bounds tables by itself, or the agent ends what outgrows its share.
    expect(["out_of_memory", undefined]).toContain(exit.failure?.code);
    expect(exit.usage.maxMemoryBytes).toBeLessThan(3072 * MIB);
  });

  test("bytes that are no module, or a broken one", async () => {
    const text = join(bench.folder, "script.wasm");
    await writeFile(text, "#!/bin/sh\necho hi\n");
    const refused: unknown = await bench.start({ module: text }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(AgentFailure);
    expect(refused).toMatchObject({ failure: { code: "invalid_module" } });

    const broken = join(bench.folder, "broken.wasm");
    await writeFile(broken, new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 200, 3, 1]));
    expect((await bench.run({ module: broken })).failure?.code).toBe("invalid_module");
  });

  test("CPU time beyond its limit", async () => {
    await using short = await Bench.open({ cpuSeconds: 60, reuseKey: () => "same" });
    const ended = await short.run({ module: forever, wasm: { cpuSeconds: 1 } });
    expect(ended).toMatchObject({ signal: "SIGXCPU", failure: { code: "cpu_limit" } });
    expect(ended.usage.cpuMs).toBeGreaterThan(900);
  });

  test("many of them leave nothing behind, and the next one runs", async () => {
    const before = { descriptors: 0, temporary: await readdir(tmpdir()), children: children() };
    {
      await using crowd = await Bench.open({ idle: 2 });
      await crowd.run({ module: hello });
      before.descriptors = readdirSync("/proc/self/fd").length;
      const bad = [body("unreachable"), body("(call $start)"), grow(64, "unreachable"), forever];
      for (let run = 0; run < badRuns; run += bad.length) {
        await Promise.all(
          bad.map(async (module) => {
            const running = await crowd.start({ module });
            if (module === forever) await running.stop(0);
            return running.exit;
          }),
        );
      }
      expect(await crowd.run({ module: hello })).toMatchObject({ exitCode: 0, stdout: "hello\n" });
      await eventually(() => readdirSync("/proc/self/fd").length <= before.descriptors + 6);
    }
    const left = (await readdir(tmpdir())).filter(
      (name) => name.startsWith("spear-wasm-test-") && !before.temporary.includes(name),
    );
    expect(left).toEqual([]);
    expect(children().filter((pid) => !before.children.includes(pid))).toEqual([]);
  }, 600_000);
});

describe("children", () => {
  test("serve one guest, unless their owner lets them serve more", async () => {
    await using bench = await Bench.open({
      idle: 1,
      reuseKey: ({ spec }) => spec.labels?.["owner"],
    });
    const pidOf = async (owner?: string) => {
      const running = await bench.start({
        module: hello,
        ...(owner === undefined ? {} : { spec: { labels: { owner } } }),
      });
      expect(await running.exit).toMatchObject({ exitCode: 0 });
      return running.pid;
    };
    const [first, second] = [await pidOf(), await pidOf()];
    expect(first).not.toBe(second);
    const ann = await pidOf("ann");
    expect(await pidOf("ann")).toBe(ann);
    expect(await pidOf("bob")).not.toBe(ann);
  });

  test("show one guest nothing of the one before", async () => {
    await using bench = await Bench.open({ idle: 1, reuseKey: () => "same" });
    const suite = join(bench.folder, "suite");
    await makeSuite(suite);
    await cp(greeting, bench.workDir, { recursive: true });
    const pids = new Set<number | undefined>();
    for (let round = 0; round < 3; round++) {
      const running = await bench.start({ module: join(suite, "random.wasm") });
      pids.add(running.pid);
      expect(await running.exit).toMatchObject({ exitCode: 0 });
      const clocks = await bench.start({ module: join(suite, "clocks.wasm") });
      pids.add(clocks.pid);
      expect(await clocks.exit).toMatchObject({ exitCode: 0 });
    }
    expect(pids.size).toBe(1);
    const [pid = 0] = pids;
    expect(readdirSync(`/proc/${pid}/fd`).length).toBeLessThan(40);
  });

  test("are never more than the bound; who waits can give up", async () => {
    await using bench = await Bench.open({ idle: 1, max: 2 });
    const running = await Promise.all([
      bench.start({ module: forever }),
      bench.start({ module: forever }),
    ]);
    const impatient = new AbortController();
    const third = bench.agent.prepare(await bench.context({ module: hello }), impatient.signal);
    const fourth = bench.start({ module: hello });
    impatient.abort(new Error("no time"));
    expect(await third.catch((error: unknown) => String(error))).toContain("no time");
    await running[0]?.stop(0);
    expect(await (await fourth).exit).toMatchObject({ exitCode: 0 });
    await running[1]?.stop(0);
  });

  test("that were prepared and not started go back, and all end with the agent", async () => {
    const mine = new Set(children());
    const bench = await Bench.open({ idle: 1, max: 1 });
    const context = await bench.context({ module: hello });
    const prepared = await bench.agent.prepare(context, AbortSignal.timeout(30_000));
    await prepared.cleanup();
    await prepared.cleanup();
    expect(await bench.run({ module: hello })).toMatchObject({ exitCode: 0 });
    expect(await bench.agent.probe()).toContain(Bun.version);
    await bench[Symbol.asyncDispose]();
    expect(children().filter((pid) => !mine.has(pid))).toEqual([]);
  });

  test("are found and ended by their handle", async () => {
    await using bench = await Bench.open();
    const running = await bench.start({ module: forever });
    await bench.agent.reap(running.handle);
    expect(isAlive(JSON.parse(running.handle) as ProcessId)).toBe(false);
    expect(await running.exit).toMatchObject({ signal: "SIGKILL" });
    await bench.agent.reap(running.handle);
  });

  test("die with the process that started them", async () => {
    const folder = await mkdtemp(join(tmpdir(), "spear-wasm-orphan-"));
    const script = join(folder, "owner.ts");
    await writeFile(
      script,
      `import { Bench, body } from ${JSON.stringify(join(import.meta.dir, "testing.ts"))};
       const bench = await Bench.open();
       const running = await bench.start({ module: body("(loop (br 0))") });
       console.log(bench.folder + " " + running.handle);
       await running.exit;`,
    );
    const owner = Bun.spawn([process.execPath, script], { stdout: "pipe", stderr: "inherit" });
    const { value } = await owner.stdout.getReader().read();
    const [left = "", handle = ""] = new TextDecoder().decode(value).split(" ");
    const id = JSON.parse(handle) as ProcessId;
    expect(isAlive(id)).toBe(true);
    owner.kill("SIGKILL");
    await owner.exited;
    await eventually(() => !isAlive(id));
    await rm(left, { recursive: true });
    await rm(folder, { recursive: true });
  });

  test("start no program and have no network", async () => {
    const confine = JSON.stringify(join(import.meta.dir, "system/confine.ts"));
    const script = `
      const { confine } = await import(${confine});
      const done = confine();
      const tried = [];
      try { Bun.spawnSync(["/bin/true"]); } catch { tried.push("spawn"); }
      await fetch("http://127.0.0.1:6379").catch(() => tried.push("connect"));
      try { Bun.serve({ port: 0, fetch: () => new Response() }); } catch { tried.push("listen"); }
      console.log(JSON.stringify({ done, tried, sum: [1, 2].reduce((a, b) => a + b) }));`;
    const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "pipe" });
    const said = JSON.parse(await new Response(child.stdout).text()) as unknown;
    expect(said).toEqual({ done: true, tried: ["spawn", "connect", "listen"], sum: 3 });
  });
});

test("a process that reaches only its directories opens nothing else", async () => {
  const landlock = JSON.stringify(join(import.meta.dir, "system/landlock.ts"));
  const paths = JSON.stringify(join(import.meta.dir, "system/paths.ts"));
  const script = `
    const { reachOnly } = await import(${landlock});
    const { openRoot } = await import(${paths});
    const { readFileSync, writeFileSync } = await import("node:fs");
    const given = ${JSON.stringify(greeting)};
    const done = reachOnly([{ fd: openRoot(given), readOnly: true }]);
    const tried = [];
    const attempt = (name, call) => { try { call(); tried.push(name); } catch {} };
    attempt("given", () => readFileSync(given + "greeting.txt"));
    attempt("change", () => writeFileSync(given + "new.txt", ""));
    attempt("other", () => readFileSync("/etc/passwd"));
    console.log(JSON.stringify({ done, tried }));`;
  const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe" });
  const said = JSON.parse(await new Response(child.stdout).text()) as { done: boolean };
  // A kernel without it says so, and the walk part by part is the only wall.
  const reached = said.done ? ["given"] : ["given", "change", "other"];
  expect(said).toMatchObject({ tried: reached });
  await rm(join(greeting, "new.txt"), { force: true });
});

describe("the module's name", () => {
  const digest = "0123456789abcdef".repeat(4);

  test("is an object, or an upload by its digest", () => {
    expect(moduleObject({ wasm: { module: "tools/count.wasm" } })).toBe("tools/count.wasm");
    expect(moduleObject({ wasm: { module: `sha256:${digest}` } })).toBe(`spear-modules/${digest}`);
    const url = `https://example.org/a.wasm#sha256=${digest}`;
    expect(moduleObject({ wasm: { module: url } })).toBe(url);
    for (const module of ["count", "sha256:12", "/x", `SHA256:${digest}`, "https://x/y"]) {
      expect(() => moduleObject({ wasm: { module } })).toThrow(AgentFailure);
    }
  });

  test("is what the guest is called", () => {
    expect(programName({ wasm: { module: "tools/a/count.wasm" } })).toBe("count.wasm");
    const url = `https://example.org/a.wasm?x=/y#sha256=${digest}`;
    expect(programName({ wasm: { module: url } })).toBe("a.wasm");
    expect(programName({ name: "count", wasm: { module: `sha256:${digest}` } })).toBe("count");
  });
});

/** Functions of preview1 by the headers of wasi-libc, which know all but one. */
async function abiFunctions(): Promise<string[]> {
  const header = await readFile("/usr/include/wasm32-wasi/wasi/api.h", "utf8");
  const names = [...header.matchAll(/\b__wasi_([a-z0-9_]+)\(/g)].map(([, name = ""]) => name);
  return [...new Set([...names, "proc_raise"])].toSorted();
}

describe("preview1, in the public suite's format", () => {
  test("direct passes every test of ours, and they import every function there is", async () => {
    const folder = await mkdtemp(join(tmpdir(), "spear-suite-"));
    try {
      await makeSuite(folder);
      const tried = new Set<string>();
      for (const name of await readdir(folder)) {
        if (!name.endsWith(".wasm")) continue;
        const module = new WebAssembly.Module(await readFile(join(folder, name)));
        for (const { name: imported } of WebAssembly.Module.imports(module)) tried.add(imported);
      }
      const world = { args: [], env: {}, stdin: new Uint8Array(), preopens: [] };
      using host = new Preview1(world);
      expect(Object.keys(host.imports()["wasi_snapshot_preview1"] ?? {}).toSorted()).toEqual(
        await abiFunctions(),
      );
      expect([...tried].toSorted()).toEqual(await abiFunctions());
      const outcomes = await runSuite(folder, "direct");
      expect(outcomes.filter(({ failure }) => failure !== undefined)).toEqual([]);
      expect(outcomes.length).toBeGreaterThan(15);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
