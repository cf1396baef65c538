/**
 * What the agent and its child say to each other over the control descriptor:
 * frames of a length, a kind and a body. The child reads and writes them
 * blocking; the agent decodes them as they come, and trusts none: a frame that
 * is too large or makes no sense ends the child.
 */
import type { Problem } from "@spear/shared/fault.ts";
import type { Failure } from "@spear/shared/task.ts";
import type { Preopen } from "./guest.ts";

/** Descriptor of the control channel in the child. */
export const controlFd = 3;
/** Largest body of a frame, in bytes. */
export const maxFrameBytes = 32 * 1024 * 1024;
const headerBytes = 5;

/** Kinds of frames. */
export const Frame = {
  /** Child → agent: ready for a job. */
  READY: 1,
  /** Agent → child: run this guest. */
  JOB: 2,
  /** Child → agent: how it ended. */
  RESULT: 3,
  /** Child → agent: the guest makes a hostcall and waits. */
  CALL: 4,
  /** Agent → child: its answer. */
  REPLY: 5,
  /** Child → agent: more of the recording of the run. */
  TAPE: 6,
} as const;

/** What a guest asks of its node; bytes follow it. */
export interface CallHead {
  name: string;
  params: unknown;
}

/** What the node answers; bytes follow it. */
export type ReplyHead = { result: object } | { problem: Problem };

/** What a child is asked to do. */
export type Job = RunJob | TranspileJob;

/** To make of a module, with jco, what can be run. */
export interface TranspileJob {
  task: "transpile";
  module: string;
  /** Where to put what was made. */
  folder: string;
  /** Most memory for it, in bytes. */
  memoryBytes: number;
  reuse: false;
}

/** To run one guest. */
export interface RunJob {
  task: "run";
  /** File of the module, or folder of what jco made of it. */
  module: string;
  engine: "direct" | "jco";
  /** Program name first. */
  args: string[];
  env: Record<string, string>;
  /** Standard input in base64. */
  stdin: string;
  preopens: Preopen[];
  /** Most memory of the guest, in bytes. */
  memoryBytes: number;
  /** Most CPU time of the guest, in seconds; absent: no limit. */
  cpuSeconds?: number;
  /** Record what the guest can't foresee, or give it what was recorded: a file. */
  tape?: "record" | { replay: string };
  /** Wait for another job behind this one. */
  reuse: boolean;
}

/** How a guest ended. */
export interface Result {
  exitCode?: number;
  signal?: string;
  failure?: Failure;
  /** Bytes it wrote to its streams, so that the agent knows when it has them all. */
  stdout: number;
  stderr: number;
  /** CPU time in milliseconds. */
  cpuMs: number;
  /** Size of its memory at the end, which is its greatest. */
  memoryBytes: number;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A frame of these bytes. Throws `RangeError` if they are too many. */
export function frameOf(kind: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  if (size > maxFrameBytes) throw new RangeError("the frame is too large");
  const frame = new Uint8Array(headerBytes + size);
  new DataView(frame.buffer).setUint32(0, size, true);
  frame[4] = kind;
  let at = headerBytes;
  for (const part of parts) {
    frame.set(part, at);
    at += part.length;
  }
  return frame;
}

/** A frame whose body is JSON. Throws `RangeError` if it is too large. */
export function encodeFrame(kind: number, body?: unknown): Uint8Array {
  return frameOf(kind, encoder.encode(body === undefined ? "" : JSON.stringify(body)));
}

/** JSON with bytes behind it, as the body of a call or a reply. */
export function encodeMessage(head: CallHead | ReplyHead, bytes: Uint8Array): Uint8Array[] {
  const text = encoder.encode(JSON.stringify(head));
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, text.length, true);
  return [length, text, bytes];
}

/** Takes a message apart. Throws if it is none. */
export function decodeMessage<H>(body: Uint8Array): { head: H; bytes: Uint8Array } {
  const length = new DataView(body.buffer, body.byteOffset).getUint32(0, true);
  const head = JSON.parse(decoder.decode(body.subarray(4, 4 + length))) as H;
  return { head, bytes: body.subarray(4 + length) };
}

/** A frame's body as JSON. */
export function jsonOf(body: Uint8Array): unknown {
  return body.length === 0 ? undefined : (JSON.parse(decoder.decode(body)) as unknown);
}

/** Puts frames together from bytes as they come. */
export class FrameReader {
  #pieces: Uint8Array[] = [];
  #size = 0;

  /** The frames that these bytes complete. Throws if they can't be frames. */
  push(bytes: Uint8Array): { kind: number; body: Uint8Array }[] {
    this.#pieces.push(bytes);
    this.#size += bytes.length;
    const frames = [];
    while (this.#size >= headerBytes) {
      const head = this.#joined(headerBytes);
      const size = new DataView(head.buffer, head.byteOffset).getUint32(0, true);
      if (size > maxFrameBytes) throw new RangeError("the frame is too large");
      if (this.#size < headerBytes + size) break;
      const frame = this.#joined(headerBytes + size);
      this.#pieces[0] = frame.subarray(headerBytes + size);
      this.#size -= headerBytes + size;
      frames.push({
        kind: frame[4] as number,
        body: frame.subarray(headerBytes, headerBytes + size),
      });
    }
    return frames;
  }

  /** The first piece, joined with those behind it as far as it is shorter than `size`. */
  #joined(size: number): Uint8Array {
    const [first] = this.#pieces;
    if (first !== undefined && first.length >= size) return first;
    const joined = new Uint8Array(Buffer.concat(this.#pieces));
    this.#pieces = [joined];
    return joined;
  }
}
