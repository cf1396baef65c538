/** The child's end of the control channel: blocking, since nothing else goes on here. */
import { Frame, FrameReader, controlFd, frameOf } from "./protocol.ts";
import { at, checked, kernel, scratch } from "./system/kernel.ts";

const incoming = scratch(1024 * 1024);
let outgoing = scratch(64 * 1024);
const frames = new FrameReader();
const waiting: { kind: number; body: Uint8Array }[] = [];

/** The next frame; undefined when the parent closed the channel. */
export function receive(): { kind: number; body: Uint8Array } | undefined {
  while (waiting.length === 0) {
    const size = checked(kernel.read(controlFd, incoming.address, incoming.bytes.length));
    if (size === 0) return undefined;
    waiting.push(...frames.push(incoming.bytes.slice(0, size)));
  }
  return waiting.shift();
}

/** Sends a frame. */
export function send(frame: Uint8Array): void {
  if (frame.length > outgoing.bytes.length) outgoing = scratch(frame.length);
  outgoing.bytes.set(frame);
  for (let sent = 0; sent < frame.length;) {
    const rest = frame.length - sent;
    sent += checked(kernel.write(controlFd, at(outgoing.address, sent), rest));
  }
}

/** Sends a call and waits for its reply. */
export function ask(parts: readonly Uint8Array[]): Uint8Array {
  send(frameOf(Frame.CALL, ...parts));
  const frame = receive();
  if (frame?.kind === Frame.REPLY) return frame.body;
  throw new Error("the agent did not reply");
}
