import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemIds } from "@spear/shared/ids.ts";
import { silentLog } from "@spear/shared/log.ts";
import { AgentFailure } from "../agents/agent.ts";
import { StoreClient } from "@spear/shared/store/client.ts";
import { NodeObjects } from "../objects/objects.ts";
import { FakeStore, sha256 } from "../objects/testing.ts";
import { ModuleCache } from "./modules.ts";
import { Staging } from "./staging.ts";

let store: FakeStore;
let root: string;
let workDir: string;
let staging: Staging;
const { signal } = new AbortController();
const id = { taskId: systemIds.next("task"), attempt: 2 };

const stagingOver = (url: string) =>
  new Staging(
    new NodeObjects({
      store: new StoreClient(() => url),
      dir: join(root, "objects"),
      maxBytes: 2 ** 20,
      log: silentLog,
    }),
  );

beforeAll(async () => {
  store = new FakeStore();
  root = await mkdtemp(join(tmpdir(), "spear-staging-"));
});
afterAll(async () => {
  await store[Symbol.asyncDispose]();
  await rm(root, { recursive: true });
});
beforeEach(async () => {
  workDir = await mkdtemp(join(root, "work-"));
  staging = stagingOver(store.url);
  store.requests = [];
  store.failures = 0;
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
    store.put("corpus/a b/ü?.txt", Buffer.from("text"));
    const inputs = [{ object: "corpus/a b/ü?.txt", path: "deep/er/in.txt" }];
    await staging.fetchInputs(inputs, workDir, signal);
    expect(await readFile(join(workDir, "deep/er/in.txt"), "utf8")).toBe("text");
  });

  test("survive a store that is away for a moment", async () => {
    store.put("corpus/a", Buffer.from("a"));
    store.failures = 2;
    await staging.fetchInputs([{ object: "corpus/a", path: "a" }], workDir, signal);
    expect(store.requests.filter((request) => request.startsWith("HEAD")).length).toBe(3);
  });

  test("that are not there, or can't be where they are wanted, are the task's fault", async () => {
    store.put("corpus/a", Buffer.from("a"));
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
    store.put("corpus/a", Buffer.from("a"));
    await writeFile(join(root, "outside"), "untouched");
    await symlink(join(root, "outside"), join(workDir, "link"));
    const inputs = [{ object: "corpus/a", path: "link" }];
    expect((await failureOf(staging.fetchInputs(inputs, workDir, signal))).code).toBe(
      "input_invalid",
    );
    expect(await readFile(join(root, "outside"), "utf8")).toBe("untouched");
  });

  test("are the node's fault where the cluster has no store", async () => {
    const none = stagingOver("");
    const inputs = [{ object: "corpus/a", path: "a" }];
    expect(await failureOf(none.fetchInputs(inputs, workDir, signal))).toEqual({
      code: "store_unavailable",
      nodeFault: true,
    });
  });
});

describe("outputs", () => {
  const collect = (path: string, optional = false) =>
    staging.storeOutputs([{ path, object: "results/out", optional }], id, workDir, signal);

  test("are stored under the attempt's own name", async () => {
    await mkdir(join(workDir, "sub"));
    await writeFile(join(workDir, "sub/out.txt"), "result");
    expect(await collect("sub/out.txt")).toEqual([
      {
        path: "sub/out.txt",
        object: "results/out",
        objectId: expect.stringMatching(/^obj_/) as string,
        sizeBytes: 6,
      },
    ]);
    const name = `spear-staging/${id.taskId}/2/sub/out.txt`;
    expect(store.get(name)?.toString()).toBe("result");
  });

  test("that are empty are stored too", async () => {
    await writeFile(join(workDir, "empty"), "");
    expect(await collect("empty")).toMatchObject([{ sizeBytes: 0 }]);
  });

  test("that are not there fail, unless they are optional", async () => {
    expect((await failureOf(collect("none"))).code).toBe("output_missing");
    expect(await collect("none", true)).toEqual([]);
  });

  test("are never read through a link, nor from what is no file", async () => {
    await symlink("/etc/passwd", join(workDir, "link"));
    await symlink("/etc", join(workDir, "dir"));
    await mkdir(join(workDir, "real"));
    for (const path of ["link", "dir/passwd", "real"]) {
      expect((await failureOf(collect(path))).code).toBe("output_invalid");
    }
  });
});

describe("modules", () => {
  const open = (maxBytes = 2 ** 20, hosts: string[] = []) =>
    new ModuleCache(join(root, "modules"), maxBytes, new StoreClient(() => store.url), hosts);

  test("are fetched once, however many ask, and kept over restarts", async () => {
    const bytes = Buffer.from("module one");
    store.put("apps/one.wasm", bytes);
    const cache = open();
    const files = await Promise.all([1, 2, 3].map(() => cache.fetch("apps/one.wasm", signal)));
    expect(new Set(files.map((file) => file.path)).size).toBe(1);
    expect(files[0]?.sha256).toBe(sha256(bytes));
    expect(await readFile(files[0]?.path ?? "", "utf8")).toBe("module one");
    await open().fetch("apps/one.wasm", signal);
    expect(store.requests.filter((request) => request.startsWith("GET")).length).toBe(1);
  });

  test("by digest must have that digest", async () => {
    store.put(`spear-modules/${"a".repeat(64)}`, Buffer.from("another"));
    const fetched = open().fetch(`spear-modules/${"a".repeat(64)}`, signal);
    expect((await failureOf(fetched)).code).toBe("checksum_mismatch");
    expect((await failureOf(open().fetch("apps/none", signal))).code).toBe("module_missing");
  });

  test("by URL are fetched once from hosts that are allowed, and are what their digest says", async () => {
    const bytes = Buffer.from(`module ${crypto.randomUUID()}`);
    let asked = 0;
    using site = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: (request) => {
        asked += 1;
        const { pathname } = new URL(request.url);
        if (pathname === "/moved") return Response.redirect("/one.wasm", 302);
        if (pathname === "/away") return Response.redirect("http://localhost:1/x", 302);
        return pathname === "/one.wasm" ? new Response(bytes) : new Response("", { status: 404 });
      },
    });
    const host = `127.0.0.1:${site.port}`;
    const source = (path: string, digest = sha256(bytes)) =>
      `http://${host}${path}#sha256=${digest}`;
    const cache = open(2 ** 20, [host]);
    const files = await Promise.all([1, 2, 3].map(() => cache.fetch(source("/moved"), signal)));
    expect(await readFile(files[0]?.path ?? "")).toEqual(bytes);
    expect(await cache.fetch(source("/gone"), signal)).toEqual(
      files[0] ?? { path: "", sha256: "" },
    );
    expect(asked).toBe(2);

    const other = "b".repeat(64);
    const why = async (path: string, by = cache) =>
      (await failureOf(by.fetch(source(path, other), signal))).code;
    expect(await why("/one.wasm")).toBe("checksum_mismatch");
    expect(await why("/none")).toBe("module_missing");
    expect(await why("/away")).toBe("module_host_not_allowed");
    expect(await why("/one.wasm", open())).toBe("module_host_not_allowed");
    await site.stop(true);
    expect(await why("/one.wasm")).toBe("module_missing");
  });

  test("that were not used for longest go first", async () => {
    const cache = open(25);
    for (const name of ["x", "y", "z"]) store.put(`apps/${name}`, Buffer.from(name.repeat(10)));
    const x = await cache.fetch("apps/x", signal);
    const y = await cache.fetch("apps/y", signal);
    await cache.fetch("apps/x", signal);
    await cache.fetch("apps/z", signal);
    expect(await Bun.file(x.path).exists()).toBe(true);
    expect(await Bun.file(y.path).exists()).toBe(false);
  });
});
