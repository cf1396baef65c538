/**
 * The server that the store's reads are held against: `FILE` below `/file` as Bun
 * serves a file, 4 KiB from a bare Elysia route below `/small`. Prints its address.
 */
import { Elysia } from "elysia";

const [path = ""] = process.argv.slice(2);
const small = Buffer.alloc(4 << 10, 0x61);
const app = new Elysia()
  .get("/file", () => new Response(Bun.file(path)))
  .get("/small", () => new Response(small))
  .listen({ hostname: "127.0.0.1", port: 0 });
process.stdout.write(`127.0.0.1:${app.server?.port}\n`);
