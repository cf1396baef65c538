/**
 * What the agent and its child say to each other over the control descriptor:
 * frames of a length, a kind and a body. The child reads and writes them
 * blocking; the agent decodes them as they come, and trusts none: a frame that
 * is too large or makes no sense ends the child.
 */
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
} as const;

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

/** A frame as bytes. Throws `RangeError` if its body is too large. */
export function encodeFrame(kind: number, body: unknown): Uint8Array {
  const text = new TextEncoder().encode(body === undefined ? "" : JSON.stringify(body));
  if (text.length > maxFrameBytes) throw new RangeError("the frame is too large");
  const frame = new Uint8Array(headerBytes + text.length);
  new DataView(frame.buffer).setUint32(0, text.length, true);
  frame[4] = kind;
  frame.set(text, headerBytes);
  return frame;
}

/** Puts frames together from bytes as they come. */
export class FrameReader {
  #pending: Uint8Array = new Uint8Array(0);

  /** The frames that these bytes complete. Throws if they can't be frames. */
  push(bytes: Uint8Array): { kind: number; body: unknown }[] {
    this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    const frames = [];
    while (this.#pending.length >= headerBytes) {
      const view = new DataView(this.#pending.buffer, this.#pending.byteOffset);
      const size = view.getUint32(0, true);
      if (size > maxFrameBytes) throw new RangeError("the frame is too large");
      if (this.#pending.length < headerBytes + size) break;
      const text = new TextDecoder().decode(
        this.#pending.subarray(headerBytes, headerBytes + size),
      );
      frames.push({
        kind: view.getUint8(4),
        body: text === "" ? undefined : (JSON.parse(text) as unknown),
      });
      this.#pending = this.#pending.slice(headerBytes + size);
    }
    return frames;
  }
}
