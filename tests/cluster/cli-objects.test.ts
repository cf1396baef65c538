/** `spear object`, `spear bucket` and `spear access-key` against a cluster of one node. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { environment, inTerminal, spearCommand, startDev, type Dev } from "./spear.ts";

// A whole cluster starts here; on a loaded machine that takes its time.
setDefaultTimeout(120_000);

let dev: Dev;
let directory: string;
beforeAll(async () => {
  dev = await startDev([]);
  directory = await mkdtemp(join(tmpdir(), "spear-cli-"));
});
afterAll(async () => {
  await dev[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

const json = async <T>(...args: string[]): Promise<T> => {
  const { stdout } = await dev.spear([...args, "-o", "json"]);
  return JSON.parse(stdout) as T;
};

/** The most memory that a process held so far, in bytes; 0 once it has ended. */
function peakOf(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

test("bytes go in and out, by name, id and pipe", async () => {
  const bytes = Buffer.alloc(3 << 20, "some bytes ");
  const file = join(directory, "in.bin");
  await writeFile(file, bytes);
  await dev.spear(["bucket", "create", "bytes"]);
  const put = await dev.spear([
    "object",
    "put",
    file,
    "bytes/a/ü b",
    "--meta",
    "by=me",
    "-o",
    "json",
  ]);
  const { id, sha256 } = JSON.parse(put.stdout) as { id: string; sha256: string };
  expect(sha256).toBe(new Bun.CryptoHasher("sha256").update(bytes).digest("hex"));
  for (const name of ["bytes/a/ü b", id]) {
    const target = join(directory, "out.bin");
    expect((await dev.spear(["object", "get", name, target])).code).toBe(0);
    expect((await readFile(target)).equals(bytes)).toBe(true);
  }
  await dev.spear(["object", "put", "-", "bytes/piped"], { stdin: "piped" });
  expect((await dev.spear(["object", "get", "bytes/piped", "-"])).stdout).toBe("piped");
  const stat = await json<unknown>("object", "stat", "bytes/a/ü b");
  expect(stat).toMatchObject({ id, sha256, sizeBytes: bytes.length, metadata: { by: "me" } });
});

test("lists with prefix, delimiter and limit", async () => {
  await dev.spear(["bucket", "create", "lists"]);
  for (const key of ["a/1", "a/2", "b/1", "c"]) {
    await dev.spear(["object", "put", "-", `lists/${key}`], { stdin: key });
  }
  const keys = async (...args: string[]) =>
    (await json<{ key?: string; prefix?: string }[]>("object", "ls", ...args)).map(
      ({ key, prefix }) => key ?? prefix,
    );
  expect(await keys("lists")).toEqual(["a/1", "a/2", "b/1", "c"]);
  expect(await keys("lists/a/")).toEqual(["a/1", "a/2"]);
  expect(new Set(await keys("lists", "--delimiter", "/"))).toEqual(new Set(["a/", "b/", "c"]));
  expect(await keys("lists", "--limit", "3")).toEqual(["a/1", "a/2", "b/1"]);
  const names = async () =>
    (await json<{ name: string }[]>("bucket", "ls")).map(({ name }) => name);
  expect(await names()).toContain("lists");
  expect((await dev.spear(["bucket", "rm", "lists"])).code).toBe(1);
  await dev.spear(["object", "rm", "lists/a/1", "lists/a/2", "lists/b/1", "lists/c"]);
  expect((await dev.spear(["bucket", "rm", "lists"])).stdout).toBe("removed lists\n");
  expect(await names()).not.toContain("lists");
});

test("references and pins keep what lost its name", async () => {
  await dev.spear(["bucket", "create", "kept"]);
  await dev.spear(["object", "put", "-", "kept/a"], { stdin: "a" });
  const { id } = await json<{ id: string }>("object", "stat", "kept/a");
  expect((await dev.spear(["object", "pin", "kept/a"])).stdout).toBe(`${id} is pinned\n`);
  await dev.spear(["object", "ref", "kept/a", "user/ann", "--ttl", "1h"]);
  const { stdout } = await dev.spear(["object", "why", id]);
  expect(stdout).toStartWith(
    `${id} is kept by\n  the name kept/a\n  its pin\n  the reference of user/ann, which ends in `,
  );
  await dev.spear(["object", "rm", "kept/a"]);
  await dev.spear(["object", "unpin", id]);
  expect((await dev.spear(["object", "get", id, "-"])).stdout).toBe("a");
  await dev.spear(["object", "unref", id, "user/ann"]);
  const after = await dev.spear(["object", "why", id]);
  expect(after.stdout).toStartWith(`${id} is kept by nothing and goes `);
});

test("a bucket's rules are set, shown, kept to and taken away", async () => {
  await dev.spear(["bucket", "create", "ruled"]);
  const rules = [
    "--max-bytes",
    "1Ki",
    "--max-objects",
    "2",
    "--expire",
    "30d",
    "--expire",
    "t/=1h",
  ];
  const set = await dev.spear(["bucket", "set-rules", "ruled", ...rules]);
  expect(set.stdout).toBe(
    "ruled has room for 1 KiB, room for 2 objects, names that go: all after 30d, names that go: t/* after 1h\n",
  );
  await dev.spear(["object", "put", "-", "ruled/a"], { stdin: "a".repeat(1_000) });
  const refused = await dev.spear(["object", "put", "-", "ruled/b"], { stdin: "b".repeat(30) });
  expect(refused.code).toBe(1);
  expect(refused.stderr).toStartWith("error: the bucket would hold more bytes than its quota");
  const { stdout } = await dev.spear(["bucket", "get", "ruled"]);
  expect(stdout).toContain("objects  1 of 2\nsize     1000 B of 1 KiB\nexpiry   all after 30d\n");
  const wrong = await dev.spear(["bucket", "set-rules", "ruled", "--expire", "soon"]);
  expect(wrong.code).toBe(2);
  expect((await dev.spear(["bucket", "set-rules", "ruled"])).stdout).toBe("ruled has no rules\n");
  expect(await json("bucket", "get", "ruled")).toMatchObject({ objects: 1, rules: {} });
});

test("a put in parts goes on where it was interrupted", async () => {
  await dev.spear(["bucket", "create", "parts"]);
  const file = join(directory, "in-parts.bin");
  const bytes = Buffer.from(crypto.getRandomValues(new Uint8Array(4_500)));
  await writeFile(file, bytes);
  const sent: string[] = [];
  let failing = true;
  const address = dev.env["SPEAR_STORE_ADDRESS"] ?? "";
  // Stands between the command and the store, and lets one part down.
  await using proxy = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      const { pathname, search } = new URL(request.url);
      const part = /\/parts\/(\d+)$/.exec(pathname)?.[1];
      if (part !== undefined) sent.push(part);
      const body = await request.arrayBuffer();
      if (part === "3" && failing) return new Response("", { status: 502 });
      const { method, headers } = request;
      return fetch(address + pathname + search, {
        method,
        headers,
        ...(body.byteLength > 0 ? { body } : {}),
      });
    },
  });
  const env = { SPEAR_STORE_ADDRESS: `http://127.0.0.1:${proxy.port}` };
  const args = ["object", "put", file, "parts/a", "--resumable", "--part-size", "1000"];
  const broken = await dev.spear([...args, "--type", "text/x"], { env });
  expect(broken.code).toBe(1);
  expect(sent).toContain("3");
  failing = false;
  sent.length = 0;
  const whole = await dev.spear(args, { env });
  expect(whole).toMatchObject({ code: 0, stderr: "" });
  expect(sent).toContain("3");
  expect(sent.length).toBeLessThan(4);
  const target = join(directory, "in-parts.back");
  await dev.spear(["object", "get", "parts/a", target]);
  expect((await readFile(target)).equals(bytes)).toBe(true);
  expect(await json("object", "stat", "parts/a")).toMatchObject({ contentType: "text/x" });
  const tooMany = await dev.spear([...args.slice(0, -1), "0.4"]);
  expect(tooMany.code).toBe(2);
});

test("objects are copied without their bytes, and many are removed at once", async () => {
  await dev.spear(["bucket", "create", "copies"]);
  await dev.spear(["object", "put", "-", "copies/a"], { stdin: "a" });
  const { id } = await json<{ id: string }>("object", "cp", "copies/a", "copies/b");
  expect((await dev.spear(["object", "cp", id, "copies/c"])).stdout).toBe(`copies/c  ${id}\n`);
  const taken = await dev.spear(["object", "cp", id, "copies/c", "--if-absent"]);
  expect(taken).toMatchObject({ code: 1, stderr: "error: the key exists already\n" });
  const removed = await dev.spear(["object", "rm", "copies/a", "copies/none", "copies/c"]);
  expect(removed).toMatchObject({
    code: 0,
    stdout: "removed copies/a\ncopies/none: was not there\nremoved copies/c\n",
  });
  expect((await dev.spear(["object", "get", "copies/b", "-"])).stdout).toBe("a");
});

test("an object that is not there leaves no file", async () => {
  await dev.spear(["bucket", "create", "empty"]);
  const target = join(directory, "never");
  const ended = await dev.spear(["object", "get", "empty/none", target]);
  expect(ended.code).toBe(1);
  expect(ended.stderr).toStartWith("error: ");
  expect(await readdir(directory)).not.toContain("never");
  const stat = await dev.spear(["object", "stat", "empty/none"]);
  expect(stat.code).toBe(1);
  expect(stat.stderr).toBe(ended.stderr);
});

test("memory stays the same whatever the size", async () => {
  await dev.spear(["bucket", "create", "large"]);
  const file = join(directory, "large");
  await writeFile(file, "");
  await truncate(file, 384 << 20);
  for (const args of [
    ["object", "put", file, "large/a"],
    ["object", "get", "large/a", `${file}.back`],
  ]) {
    const child = Bun.spawn(spearCommand(...args), { env: environment(dev.env) });
    let peakBytes = 0;
    const sampling = setInterval(() => {
      peakBytes = Math.max(peakBytes, peakOf(child.pid));
    }, 20);
    expect(await child.exited).toBe(0);
    clearInterval(sampling);
    expect(peakBytes).toBeGreaterThan(0);
    expect(peakBytes).toBeLessThan(200 << 20);
  }
  expect(Bun.spawnSync(["cmp", file, `${file}.back`]).exitCode).toBe(0);
  await dev.spear(["object", "rm", "large/a"]);
});

test("a terminal gets a progress bar", async () => {
  await dev.spear(["bucket", "create", "shown", "--if-absent"]);
  const file = join(directory, "shown.bin");
  await writeFile(file, Buffer.alloc(1 << 20));
  const terminal = inTerminal(dev.env, "object", "put", file, "shown/a");
  expect(await terminal.exited).toBe(0);
  expect(terminal.shown()).toContain("[########################] 100%  1 MiB of 1 MiB");
});

test("access keys are made, listed without their secrets, and removed", async () => {
  const options = ["--bucket", "photos", "--bucket", "film", "--prefix", "2026/", "--read-only"];
  const made = await dev.spear(["access-key", "create", ...options, "--ttl", "1d"]);
  const [, id = "", secret = ""] =
    /^export AWS_ACCESS_KEY_ID=(\w+) AWS_SECRET_ACCESS_KEY=(\S+)\n$/.exec(made.stdout) ?? [];
  expect(secret).toHaveLength(40);
  const { stdout } = await dev.spear(["access-key", "ls"]);
  const line = stdout.split("\n").find((one) => one.startsWith(id));
  expect(line).toContain("photos/2026/: read,list; film/2026/: read,list  ");
  expect(stdout).not.toContain(secret);
  const drop = ["access-key", "create", "--allow", "write,delete", "--description", "drop"];
  expect(await json(...drop)).toMatchObject({
    description: "drop",
    grants: [{ bucket: "*", actions: ["write", "delete"] }],
  });
  expect((await dev.spear(["access-key", "rm", id])).stdout).toBe(`removed ${id}\n`);
  expect((await dev.spear(["access-key", "rm", id])).code).toBe(1);
  expect((await dev.spear(["access-key", "create", "--allow", "destroy"])).code).toBe(2);
});
