/** Hostcalls as the host's side of a guest makes them: one at a time, and blocking. */
import type { Problem } from "@spear/shared/fault.ts";
import type { HostcallName } from "@spear/shared/hostcalls.ts";
import { ask } from "./control.ts";
import { decodeMessage, encodeMessage, type ReplyHead } from "./protocol.ts";
import { tape } from "./tape.ts";

/** A call that was refused or failed. */
export class CallFailed extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.detail);
    this.name = "CallFailed";
    this.problem = problem;
  }
}

const nothing = new Uint8Array(0);

/** Makes a call for the guest. Throws `CallFailed`. */
export function hostcall<R extends object = Record<string, unknown>>(
  name: HostcallName | (string & {}),
  params: unknown,
  bytes: Uint8Array = nothing,
): { result: R; bytes: Uint8Array } {
  const request = encodeMessage({ name, params }, bytes);
  const reply = decodeMessage<ReplyHead>(tape.call(request, () => ask(request)));
  if ("problem" in reply.head) throw new CallFailed(reply.head.problem);
  return { result: reply.head.result as R, bytes: reply.bytes };
}
