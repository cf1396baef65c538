import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "./client.ts";
import { getObject, objectPath, putObject } from "./transfer.ts";

const digest = (bytes: string) => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
const name = { bucket: "corpus", key: "a/b c.txt" };
const path = objectPath(name);

const clientAt = (address: string) =>
  new Client({ what: "the Object Store", address, help: "", token: undefined });

let directory: string;
let server: Bun.Server<undefined>;
let store: Client;
let answer: (request: Request) => Response | Promise<Response>;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "spear-transfer-"));
  server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: (request) =>
      request.url.endsWith("/healthz") ? Response.json({ status: "ok" }) : answer(request),
  });
  store = clientAt(`http://127.0.0.1:${server.port}`);
});
afterEach(async () => {
  for (const file of await readdir(directory)) await rm(join(directory, file));
});
afterAll(async () => {
  await server.stop(true);
  await rm(directory, { recursive: true });
});

test("a key is one part of the path, slashes and all", () => {
  expect(path).toBe("/v1/buckets/corpus/objects/a%2Fb%20c.txt");
});

describe("get", () => {
  test("writes the file under its name, and nothing else", async () => {
    answer = () => new Response("hello", { headers: { "x-spear-sha256": digest("hello") } });
    const target = join(directory, "out.txt");
    await writeFile(target, "old");
    expect(await getObject(store, path, target, false)).toBe(5);
    expect(await readFile(target, "utf8")).toBe("hello");
    expect(await readdir(directory)).toEqual(["out.txt"]);
  });

  test("leaves what was there when the bytes are not the object's", async () => {
    answer = () => new Response("hallo", { headers: { "x-spear-sha256": digest("hello") } });
    const target = join(directory, "out.txt");
    await writeFile(target, "old");
    expect(getObject(store, path, target, false)).rejects.toThrow("not the object's");
    expect(await readFile(target, "utf8")).toBe("old");
    expect(await readdir(directory)).toEqual(["out.txt"]);
  });

  test("leaves nothing when the connection breaks", async () => {
    const breaking = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", () => {
        socket.end("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nsome");
      });
    });
    await new Promise<void>((resolve) => breaking.listen(0, "127.0.0.1", resolve));
    const { port } = breaking.address() as AddressInfo;
    const broken = clientAt(`http://127.0.0.1:${port}`);
    expect(getObject(broken, path, join(directory, "out.txt"), false)).rejects.toThrow(
      "does not answer",
    );
    breaking.close();
    expect(await readdir(directory)).toEqual([]);
  });

  test("names a target that can't be written", () => {
    answer = () => new Response("hello");
    expect(getObject(store, path, join(directory, "no/such/dir"), false)).rejects.toThrow(
      "no/such/dir: there is no such file",
    );
  });
});

describe("put", () => {
  test("says the digest and size beforehand and checks what came back", async () => {
    const file = join(directory, "in.txt");
    await writeFile(file, "hello");
    let seen: Record<string, string | null> = {};
    answer = async (request) => {
      const header = (wanted: string) => request.headers.get(wanted);
      seen = {
        path: new URL(request.url).pathname,
        sha256: header("x-spear-sha256"),
        length: header("content-length"),
        type: header("content-type"),
        meta: header("x-spear-meta-colour"),
        condition: header("if-none-match"),
        body: await request.text(),
      };
      return Response.json({ sha256: digest("hello"), sizeBytes: 5 });
    };
    await putObject(store, file, name, {
      contentType: "text/plain",
      metadata: { colour: "red" },
      ifAbsent: true,
      progress: false,
    });
    expect(seen).toEqual({
      path,
      sha256: digest("hello"),
      length: "5",
      type: "text/plain",
      meta: "red",
      condition: "*",
      body: "hello",
    });
  });

  test("an empty file is an object too", async () => {
    const file = join(directory, "empty");
    await writeFile(file, "");
    answer = async (request) =>
      Response.json({ sha256: digest(await request.text()), sizeBytes: 0 });
    expect(await putObject(store, file, name, { progress: false })).toMatchObject({
      sizeBytes: 0,
    });
  });

  test("other bytes at the store are an error", async () => {
    const file = join(directory, "in.txt");
    await writeFile(file, "hello");
    answer = () => Response.json({ sha256: digest("hallo") });
    expect(putObject(store, file, name, { progress: false })).rejects.toThrow(
      "other bytes than were sent",
    );
  });

  test("a file that is not there or no file is named", () => {
    const options = { progress: false };
    expect(putObject(store, join(directory, "none"), name, options)).rejects.toThrow(
      "none: there is no such file",
    );
    expect(putObject(store, directory, name, options)).rejects.toThrow("it is a directory");
  });
});
