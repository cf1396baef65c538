/** WebSockets. */
import type { Json } from "../world.ts";

/** The first message of a WebSocket. */
export function firstMessage(url: string): Promise<Json> {
  const { promise, resolve, reject } = Promise.withResolvers<Json>();
  const socket = new WebSocket(url.replace("http:", "ws:"));
  socket.addEventListener("message", ({ data }) => {
    resolve(JSON.parse(String(data)) as Json);
    socket.close();
  });
  socket.addEventListener("error", () => reject(new Error(`${url} can't be opened`)));
  return promise;
}
