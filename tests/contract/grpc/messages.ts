/** Reading streams of messages. */
import type { Json } from "../world.ts";

/** What a stream of log chunks says on standard output. */
export async function output(chunks: AsyncGenerator<Json>): Promise<string> {
  let text = "";
  for await (const { stream, data } of chunks) {
    if (stream === "stdout") text += Buffer.from((data as string) ?? "", "base64").toString();
  }
  return text;
}

/** The first message of a stream; leaves it then. */
export async function first(stream: AsyncGenerator<Json>): Promise<Json> {
  for await (const message of stream) return message;
  throw new Error("the stream was empty");
}
