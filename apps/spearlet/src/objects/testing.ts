/** A store over HTTP that keeps objects in memory, counts what it is asked and fails as it is told. */
import { systemIds, type ObjectId } from "@spear/shared/ids.ts";

interface Kept {
  id: ObjectId;
  bytes: Buffer<ArrayBuffer>;
}

export const sha256 = (bytes: Uint8Array) =>
  new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

export class FakeStore implements AsyncDisposable {
  readonly #named = new Map<string, Kept>();
  readonly #byId = new Map<string, Kept>();
  readonly #server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: (request) => this.#answer(request),
  });
  /** As "GET /v1/objects/obj_…". */
  requests: string[] = [];
  /** How many requests are answered as "not now". */
  failures = 0;
  /** What happens to the bytes on their way. */
  alter = (bytes: Buffer<ArrayBuffer>) => bytes;
  /** What its answers to reads say besides. */
  headers: Record<string, string> = {};
  /** Bytes wait for it. */
  gate: Promise<void> = Promise.resolve();

  get url(): string {
    return `http://127.0.0.1:${this.#server.port}`;
  }

  put(name: string, bytes: Buffer<ArrayBuffer>): ObjectId {
    const kept = { id: systemIds.next("obj"), bytes };
    this.#named.set(name, kept);
    this.#byId.set(kept.id, kept);
    return kept.id;
  }

  get(name: string): Buffer | undefined {
    return this.#named.get(name)?.bytes;
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    this.requests.push(`${request.method} ${pathname}`);
    if (this.failures > 0) {
      this.failures -= 1;
      return Response.json({ code: "unavailable", detail: "not now" }, { status: 503 });
    }
    const [, bucket = "", key = ""] =
      /^\/v1\/buckets\/([^/]+)(?:\/objects\/(.*))?$/.exec(pathname) ?? [];
    const name = `${bucket}/${decodeURIComponent(key)}`;
    if (request.method === "PUT") {
      if (key === "") return Response.json({ name: bucket });
      const bytes = Buffer.from(await request.arrayBuffer());
      return Response.json({ id: this.put(name, bytes), sizeBytes: bytes.length });
    }
    const kept = bucket === "" ? this.#byId.get(pathname.slice(12)) : this.#named.get(name);
    return kept === undefined
      ? Response.json({ code: "object_not_found", detail: `there is no ${name}` }, { status: 404 })
      : this.#give(request, kept);
  }

  async #give(request: Request, { id, bytes }: Kept): Promise<Response> {
    const headers = new Headers({
      ...this.headers,
      "x-spear-object-id": id,
      "x-spear-sha256": sha256(bytes),
    });
    if (request.method === "HEAD") {
      headers.set("content-length", String(bytes.length));
      return new Response(null, { headers });
    }
    await this.gate;
    const [, start = "0", end = ""] =
      /^bytes=(\d+)-(\d+)$/.exec(request.headers.get("range") ?? "") ?? [];
    const range = bytes.subarray(Number(start), end === "" ? bytes.length : Number(end) + 1);
    return new Response(this.alter(range), { status: 206, headers });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.stop(true);
  }
}
