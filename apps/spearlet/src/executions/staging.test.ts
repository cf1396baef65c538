import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemIds } from "@spear/shared/ids.ts";
import { AgentFailure } from "../agents/agent.ts";
import { ModuleCache } from "./modules.ts";
import { StoreClient } from "./objects.ts";
import { Staging } from "./staging.ts";

/** A store over HTTP that keeps objects in memory and fails as often as it is told. */
const objects = new Map<string, Uint8Array<ArrayBuffer>>();
let failures = 0;
let requests: string[] = [];
let server: ReturnType<typeof Bun.serve>;
let root: string;
let workDir: string;
let staging: Staging;
const { signal } = new AbortController();
const id = { taskId: systemIds.next("task"), attempt: 2 };
const sha256 = (bytes: Uint8Array) => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

async function answer(request: Request): Promise<Response> {
  const { pathname } = new URL(request.url);
  requests.push(`${request.method} ${pathname}`);
  if (failures > 0) {
    failures -= 1;
    return Response.json({ code: "unavailable", detail: "not now" }, { status: 503 });
  }
  const [, bucket = "", key] = /^\/v1\/buckets\/([^/]+)(?:\/objects\/(.*))?$/.exec(pathname) ?? [];
  if (key === undefined) return Response.json({ name: bucket });
  const name = `${bucket}/${decodeURIComponent(key)}`;
  if (request.method === "PUT") {
    objects.set(name, new Uint8Array(await request.arrayBuffer()));
    return Response.json({ id: "obj_1", sizeBytes: objects.get(name)?.byteLength });
  }
  const bytes = objects.get(name);
  const missing = { code: "object_not_found", detail: `there is no ${name}` };
  if (bytes === undefined) return Response.json(missing, { status: 404 });
  const wrong = name.endsWith("damaged");
  const headers = { "x-spear-sha256": wrong ? "0".repeat(64) : sha256(bytes) };
  return new Response(request.method === "HEAD" ? null : bytes, { headers });
}

beforeAll(async () => {
  server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: answer });
  root = await mkdtemp(join(tmpdir(), "spear-staging-"));
});
afterAll(async () => {
  await server.stop(true);
  await rm(root, { recursive: true });
});
beforeEach(async () => {
  workDir = await mkdtemp(join(root, "work-"));
  staging = new Staging(new StoreClient(() => `http://127.0.0.1:${server.port}`));
  requests = [];
  failures = 0;
});

/** The failure that a promise must end with. */
async function failureOf(promise: Promise<unknown>) {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof AgentFailure)) throw new Error(`not a failure: ${String(error)}`);
  return { code: error.failure.code, nodeFault: error.nodeFault };
}

describe("inputs", () => {
  test("arrive whole at their paths, whatever the key", async () => {
    objects.set("corpus/a b/ü?.txt", Buffer.from("text"));
    const inputs = [{ object: "corpus/a b/ü?.txt", path: "deep/er/in.txt" }];
    await staging.fetchInputs(inputs, workDir, signal);
    expect(await readFile(join(workDir, "deep/er/in.txt"), "utf8")).toBe("text");
  });

  test("survive a store that is away for a moment", async () => {
    objects.set("corpus/a", Buffer.from("a"));
    failures = 2;
    await staging.fetchInputs([{ object: "corpus/a", path: "a" }], workDir, signal);
    expect(requests.length).toBe(3);
  });

  test("that are not there, or can't be where they are wanted, are the task's fault", async () => {
    objects.set("corpus/a", Buffer.from("a"));
    const fetch = (...inputs: { object: string; path: string }[]) =>
      failureOf(staging.fetchInputs(inputs, workDir, signal));
    expect(await fetch({ object: "corpus/none", path: "x" })).toEqual({
      code: "input_missing",
      nodeFault: false,
    });
    await writeFile(join(workDir, "file"), "");
    expect(await fetch({ object: "corpus/a", path: "file/below" })).toEqual({
      code: "input_invalid",
      nodeFault: false,
    });
  });

  test("never follow a link out of the work directory", async () => {
    objects.set("corpus/a", Buffer.from("a"));
    await writeFile(join(root, "outside"), "untouched");
    await symlink(join(root, "outside"), join(workDir, "link"));
    const inputs = [{ object: "corpus/a", path: "link" }];
    expect((await failureOf(staging.fetchInputs(inputs, workDir, signal))).code).toBe(
      "input_invalid",
    );
    expect(await readFile(join(root, "outside"), "utf8")).toBe("untouched");
  });

  test("are the node's fault where the cluster has no store", async () => {
    const none = new Staging(new StoreClient(() => ""));
    const inputs = [{ object: "corpus/a", path: "a" }];
    expect(await failureOf(none.fetchInputs(inputs, workDir, signal))).toEqual({
      code: "store_unavailable",
      nodeFault: true,
    });
  });
});

describe("outputs", () => {
  const store = (path: string, optional = false) =>
    staging.storeOutputs([{ path, object: "results/out", optional }], id, workDir, signal);

  test("are stored under the attempt's own name", async () => {
    await mkdir(join(workDir, "sub"));
    await writeFile(join(workDir, "sub/out.txt"), "result");
    expect(await store("sub/out.txt")).toEqual([
      { path: "sub/out.txt", object: "results/out", objectId: "obj_1", sizeBytes: 6 },
    ]);
    const name = `spear-staging/${id.taskId}/2/sub/out.txt`;
    expect(Buffer.from(objects.get(name) ?? []).toString()).toBe("result");
  });

  test("that are empty are stored too", async () => {
    await writeFile(join(workDir, "empty"), "");
    expect(await store("empty")).toMatchObject([{ sizeBytes: 0 }]);
  });

  test("that are not there fail, unless they are optional", async () => {
    expect((await failureOf(store("none"))).code).toBe("output_missing");
    expect(await store("none", true)).toEqual([]);
  });

  test("are never read through a link, nor from what is no file", async () => {
    await symlink("/etc/passwd", join(workDir, "link"));
    await symlink("/etc", join(workDir, "dir"));
    await mkdir(join(workDir, "real"));
    for (const path of ["link", "dir/passwd", "real"]) {
      expect((await failureOf(store(path))).code).toBe("output_invalid");
    }
  });
});

describe("modules", () => {
  const open = (maxBytes = 2 ** 20) =>
    new ModuleCache(
      join(root, "modules"),
      maxBytes,
      new StoreClient(() => `http://127.0.0.1:${server.port}`),
    );

  test("are fetched once, however many ask, and kept over restarts", async () => {
    const bytes = Buffer.from("module one");
    objects.set("apps/one.wasm", bytes);
    const cache = open();
    const files = await Promise.all([1, 2, 3].map(() => cache.fetch("apps/one.wasm", signal)));
    expect(new Set(files.map((file) => file.path)).size).toBe(1);
    expect(files[0]?.sha256).toBe(sha256(bytes));
    expect(await readFile(files[0]?.path ?? "", "utf8")).toBe("module one");
    await open().fetch("apps/one.wasm", signal);
    expect(requests.filter((request) => request.startsWith("GET")).length).toBe(1);
  });

  test("by digest must have that digest", async () => {
    objects.set(`spear-modules/${"a".repeat(64)}`, Buffer.from("another"));
    const fetched = open().fetch(`spear-modules/${"a".repeat(64)}`, signal);
    expect((await failureOf(fetched)).code).toBe("checksum_mismatch");
    expect((await failureOf(open().fetch("apps/none", signal))).code).toBe("module_missing");
  });

  test("that were not used for longest go first", async () => {
    const cache = open(25);
    for (const name of ["x", "y", "z"]) objects.set(`apps/${name}`, Buffer.from(name.repeat(10)));
    const x = await cache.fetch("apps/x", signal);
    const y = await cache.fetch("apps/y", signal);
    await cache.fetch("apps/x", signal);
    await cache.fetch("apps/z", signal);
    expect(await Bun.file(x.path).exists()).toBe(true);
    expect(await Bun.file(y.path).exists()).toBe(false);
  });
});
