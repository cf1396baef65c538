import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cp, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { AgentFailure } from "../../agent.ts";
import { guest, makeSuite, writeComponent, writeComponentText } from "../guests/build.ts";
import { Preview2 } from "../preview2/host.ts";
import { runSuite } from "../suite.ts";
import { Bench, body, type Attempt } from "../testing.ts";

const memory = `(memory (export "memory") 1)`;
const greeting = new URL("../guests/preview1/tree.dir/", import.meta.url).pathname;

describe("through jco", () => {
  let bench: Bench;
  let cache: string;
  beforeAll(async () => {
    bench = await Bench.open({ idle: 2 });
    cache = join(bench.folder, "cache");
    await cp(join(greeting, "greeting.txt"), join(bench.workDir, "in.txt"));
  });
  afterAll(() => bench[Symbol.asyncDispose]());

  const copy: Partial<Attempt> = {
    wasm: { args: ["in.txt", "out.txt"], engine: "jco" },
    env: { WHO: "jco" },
  };

  test("a core module has its directory, arguments and environment, and is made once", async () => {
    const module = await guest("report.c");
    for (let round = 0; round < 2; round++) {
      const ended = await bench.run({ module, ...copy });
      expect(ended).toMatchObject({ exitCode: 0, stdout: "jco copied 18 bytes\n", stderr: "" });
      expect(ended.usage.maxMemoryBytes).toBeGreaterThan(65_535);
    }
    expect(await readFile(join(bench.workDir, "out.txt"), "utf8")).toBe("hello from a file\n");
    expect((await readdir(cache)).length).toBe(1);
  });

  test("a core module's exit code is exact", async () => {
    const module = await guest("report.c");
    expect(await bench.run({ module, wasm: { engine: "jco" } })).toMatchObject({
      exitCode: 2,
      stderr: "usage: report IN OUT\n",
    });
  });

  test("a component runs, reads standard input, and ends with 0 or 1", async () => {
    const path = join(bench.folder, "report.component.wasm");
    const module = await writeComponent(path, "report.c");
    const ended = await bench.run({ module, ...copy, wasm: { args: ["in.txt", "again.txt"] } });
    expect(ended).toMatchObject({ exitCode: 0, stdout: "jco copied 18 bytes\n" });
    expect(await bench.run({ module })).toMatchObject({ exitCode: 1 });

    const words = await writeComponent(join(bench.folder, "words.component.wasm"), "words.as");
    expect(await bench.run({ module: words, stdin: "one two" })).toMatchObject({
      exitCode: 0,
      stdout: "words: 2\n",
    });
  });

  test("a component has a read-only directory only to read", async () => {
    await using reader = await Bench.open({
      preopens: ({ workDir }) => [
        { guest: "/given", host: greeting, readOnly: true },
        { guest: "/own", host: workDir, readOnly: false },
      ],
    });
    const path = join(reader.folder, "report.component.wasm");
    const module = await writeComponent(path, "report.c");
    const own = { args: ["/given/greeting.txt", "/own/copy.txt"] };
    expect(await reader.run({ module, wasm: own })).toMatchObject({ exitCode: 0 });
    const given = { args: ["/given/greeting.txt", "/given/copy.txt"] };
    const refused = await reader.run({ module, wasm: given });
    expect(refused.stderr).toContain("Read-only file system");
    const out = { args: ["/given/../../../../etc/passwd", "/own/copy.txt"] };
    expect((await reader.run({ module, wasm: out })).exitCode).toBe(1);
  });

  test("a trap, a memory bomb and a stack overflow are told apart", async () => {
    const trap = body("unreachable", memory);
    expect((await bench.run({ module: trap, wasm: { engine: "jco" } })).failure?.code).toBe("trap");
    const bomb = body(
      "(loop (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) (br 0))",
      memory,
    );
    const ended = await bench.run({ module: bomb, wasm: { engine: "jco" } });
    expect(ended.failure?.code).toBe("out_of_memory");
    const deep = await bench.run({
      module: body("(call $start)", memory),
      wasm: { engine: "jco" },
    });
    expect(deep.failure?.code).toBe("stack_overflow");
  });

  test("a loop without end is stopped", async () => {
    const module = body("(loop (br 0))", memory);
    const running = await bench.start({ module, wasm: { engine: "jco" } });
    await running.stop(5000);
    expect(await running.exit).toMatchObject({ signal: "SIGTERM" });
  });

  test("a component gets no connection by any interface of the network", () => {
    using host = new Preview2({ args: [], env: {}, stdin: new Uint8Array(), preopens: [] });
    const call = (name: string, member: string) => {
      const found = host.find(name)?.[member] as (...values: unknown[]) => unknown;
      try {
        return found("ipv4");
      } catch (error) {
        return (error as { payload?: unknown }).payload ?? "refused";
      }
    };
    expect(call("wasi:sockets/tcp-create-socket", "createTcpSocket")).toBe("access-denied");
    expect(call("wasi:sockets/udp-create-socket", "createUdpSocket")).toBe("access-denied");
    expect(call("wasi:sockets/ip-name-lookup", "resolveAddresses")).toBe("access-denied");
    expect(call("wasi:sockets/tcp", "TcpSocket")).toBe("refused");
    expect(call("wasi:http/outgoing-handler", "handle")).toBe("refused");
  });

  const bad: [name: string, text: string, code: string, message: RegExp][] = [
    [
      "an import that no one has",
      `(component
        (import "acme:widgets/spin@1.0.0" (instance $spin (export "go" (func))))
        (core func $go (canon lower (func $spin "go")))
        (core module $m (import "" "go" (func)) (func (export "run") (result i32) (call 0) (i32.const 0)))
        (core instance $i (instantiate $m (with "" (instance (export "go" (func $go))))))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $command (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $command)))`,
      "missing_import",
      /acme:widgets\/spin/,
    ],
    ["nothing to run", "(component)", "invalid_module", /wasi:cli\/run/],
  ];
  test.each(bad)("a component with %s says so", async (name, text, code, message) => {
    const path = join(bench.folder, `${name.replaceAll(" ", "-")}.wasm`);
    const ended = await bench.run({ module: await writeComponentText(path, text) });
    expect(ended.failure?.code).toBe(code);
    expect(ended.failure?.message).toMatch(message);
  });

  test("what jco can't make anything of has jco's words, and is not kept", async () => {
    const before = await readdir(cache);
    const path = join(bench.folder, "broken.component.wasm");
    await writeFile(path, new Uint8Array([0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0, 9, 9, 9]));
    const foreign = body("", `(import "env" "frobnicate" (func))`);
    for (const [attempt, code] of [
      [{ module: path }, "invalid_module"],
      [{ module: foreign, wasm: { engine: "jco" } }, "missing_import"],
    ] as const) {
      const refused: unknown = await bench.start(attempt).catch((error: unknown) => error);
      expect(refused).toBeInstanceOf(AgentFailure);
      expect(refused).toMatchObject({ failure: { code }, nodeFault: false });
    }
    expect(await readdir(cache)).toEqual(before);
  });

  test("preview1 works as far as jco's adapter goes, and no path leads out", async () => {
    const folder = join(bench.folder, "suite");
    await makeSuite(folder, ["escape", "exit", "links", "names", "prestat", "times"]);
    const outcomes = await runSuite(folder, "jco");
    expect(outcomes.filter(({ failure }) => failure !== undefined)).toEqual([]);
    expect(outcomes.length).toBe(6);
  }, 60_000);
});
