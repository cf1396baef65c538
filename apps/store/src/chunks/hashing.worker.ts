/** The worker of hashing.ts: answers every order, in their order. */
import { createHash, type Hash } from "node:crypto";
import { hashOf } from "./chunk.ts";

/** Bytes of a stream, or without them its end. */
export interface HashOrder {
  readonly stream: number;
  readonly bytes?: Uint8Array;
}

/** BLAKE3 of the bytes; at the end of a stream, SHA-256 of all of them. */
export type HashAnswer = Uint8Array;

const streams = new Map<number, Hash>();

function answerTo({ stream, bytes }: HashOrder): HashAnswer {
  const sha256 = streams.get(stream) ?? createHash("sha256");
  if (bytes === undefined) {
    streams.delete(stream);
    return sha256.digest();
  }
  streams.set(stream, sha256.update(bytes));
  return hashOf(bytes);
}

addEventListener("message", ({ data }: MessageEvent<HashOrder>) => postMessage(answerTo(data)));
