/** The examples in examples/tasks run as their comments say, through the command line. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Cluster } from "../programs.ts";
import { repository, spear, type SpearOptions } from "./spear.ts";

const example = (name: string) => join(repository, "examples/tasks", name);
/** Where the JavaScript engine of components is kept once it is made, which takes half a minute. */
const cache = join(repository, "node_modules/.cache");
const engineTimeoutMs = 600_000;

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start({
    store: true,
    sms: { leaseMs: 60_000 },
    spearlet: { runtimes: "process,wasm", slots: 8, cpu: 8, memoryBytes: 2 ** 33 },
  });
});
afterAll(() => cluster[Symbol.asyncDispose]());

async function run(args: string[], options: SpearOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await spear(args, {
    cwd: cluster.directory,
    env: {
      SPEAR_ADDRESS: cluster.sms.http,
      SPEAR_STORE_ADDRESS: cluster.store?.http ?? "",
      XDG_CACHE_HOME: cache,
    },
    ...options,
  });
  if (code !== 0) throw new Error(`spear ${args.join(" ")}: ${code}\n${stdout}${stderr}`);
  return stdout;
}

test("a process reads an input and stores an output, in a sandbox", async () => {
  const text = "some text\n";
  await writeFile(join(cluster.directory, "text"), text);
  await run(["bucket", "create", "checksums"]);
  await run(["object", "put", "text", "checksums/in.txt"]);
  await run(["submit", example("process-checksum.yaml"), "--wait"]);
  const sum = new Bun.CryptoHasher("sha256").update(text).digest("hex");
  expect(await run(["object", "get", "checksums/out.txt", "-"])).toBe(`${sum}\n`);
});

test("a module in C does the same", async () => {
  const clang = ["clang", "--target=wasm32-wasi", "--sysroot=/usr", "-O2", "-Wall", "-Werror"];
  const made = Bun.spawn([...clang, "-o", "shout.wasm", example("shout.c")], {
    cwd: cluster.directory,
  });
  expect(await made.exited).toBe(0);
  await run(["bucket", "create", "shouting"]);
  await run(["object", "put", "-", "shouting/in.txt"], { stdin: "hello\n" });
  await run([
    ...["run", "--wasm", "shout.wasm", "--input", "shouting/in.txt:in.txt"],
    ...["--output", "out.txt:shouting/out.txt", "--", "in.txt", "out.txt"],
  ]);
  expect(await run(["object", "get", "shouting/out.txt", "-"])).toBe("HELLO\n");
});

test(
  "a script in TypeScript becomes a component and runs, in two commands",
  async () => {
    expect(await run(["build", example("words.ts")])).toBe("words.wasm\n");
    const words = ["run", "--interactive", "--wasm", "words.wasm"];
    const counted = await run(words, { stdin: "to be or not to be" });
    expect(counted).toBe("2 be\n1 not\n1 or\n2 to\n");
  },
  engineTimeoutMs,
);
