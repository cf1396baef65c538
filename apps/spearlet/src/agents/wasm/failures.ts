/**
 * What went wrong in a guest, as a failure with a code of its own and the
 * engine's words: `invalid_module`, `missing_import`, `trap`, `stack_overflow`,
 * `out_of_memory`.
 */
import type { Failure } from "@spear/shared/task.ts";
import { Diverged } from "./tape.ts";
import { MemoryTooSmall } from "./module.ts";

/** A module that can't be run, for a reason that is known before it starts. */
export class BadModule extends Error {
  readonly code: "invalid_module" | "missing_import";

  constructor(code: BadModule["code"], message: string) {
    super(message);
    this.name = "BadModule";
    this.code = code;
  }
}

/** How the engine says it without the host's own code that was running. */
function words(error: Error): string {
  return error.message.replace(/\s*\(evaluating '[^]*'\)$/, "").replace(/\.$/, "");
}

/** An exception of the guest's own language; the types at hand do not know it yet. */
function isGuestException(error: unknown): boolean {
  const { Exception } = WebAssembly as unknown as { Exception: new () => unknown };
  return error instanceof Exception;
}

/** Where growing last must have failed: the guest had nearly all it may have. */
function isFull(memoryBytes: number, limitBytes: number): boolean {
  return memoryBytes >= limitBytes * 0.875;
}

/**
 * The failure that an error out of a guest stands for. A trap of a guest that
 * had filled its memory is the way most languages say that they ran out of it.
 */
export function failureOf(error: unknown, memoryBytes: number, limitBytes: number): Failure {
  if (error instanceof BadModule) return { code: error.code, message: error.message };
  if (error instanceof MemoryTooSmall) {
    const message = `the module needs ${error.neededBytes} bytes of memory to start and may have ${limitBytes}`;
    return { code: "out_of_memory", message };
  }
  if (error instanceof Diverged) return { code: "replay_diverged", message: error.message };
  if (error instanceof WebAssembly.CompileError) {
    return { code: "invalid_module", message: words(error) };
  }
  if (error instanceof WebAssembly.LinkError) {
    return { code: "missing_import", message: words(error) };
  }
  if (error instanceof RangeError && /call stack/i.test(error.message)) {
    return { code: "stack_overflow", message: "the guest's calls went too deep" };
  }
  if (error instanceof RangeError && /out of memory/i.test(error.message)) {
    return { code: "out_of_memory", message: `the guest may have ${limitBytes} bytes of memory` };
  }
  if (error instanceof WebAssembly.RuntimeError) {
    if (!isFull(memoryBytes, limitBytes)) return { code: "trap", message: words(error) };
    const message = `${words(error)}, with ${memoryBytes} of ${limitBytes} bytes of memory in use`;
    return { code: "out_of_memory", message };
  }
  if (isGuestException(error)) {
    return { code: "trap", message: "the guest threw an exception that nothing caught" };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { code: "internal", message: `the host failed: ${message}` };
}
