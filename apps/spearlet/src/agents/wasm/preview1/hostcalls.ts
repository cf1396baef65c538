/**
 * Hostcalls of core modules: the import module `spear_host`, whose C side is
 * libs/task/c/spear.h. Parameters and results are JSON, with bytes beside them.
 */
import type { Problem } from "@spear/shared/fault.ts";
import { CallFailed, hostcall } from "../hostcall.ts";
import type { GuestMemory } from "./memory.ts";

/** Name of the import module. */
export const hostModule = "spear_host";

const done = 0;
const failed = 1;

/** Its functions over a guest's memory. */
export function hostFunctions(memory: GuestMemory): Record<string, (...values: never[]) => number> {
  let json: Uint8Array = new Uint8Array(0);
  let bytes: Uint8Array = new Uint8Array(0);
  const text = (at: number, length: number) =>
    new TextDecoder().decode(memory.bytes(at, length).slice());
  const keep = (result: object | Problem) => {
    json = new TextEncoder().encode(JSON.stringify(result));
  };
  const params = (given: string): unknown => {
    try {
      return JSON.parse(given === "" ? "{}" : given);
    } catch {
      // The node refuses it by the shape that it should have.
      return given;
    }
  };
  return {
    /**
     * Makes a call. Writes the lengths of what it gives, JSON and bytes, to `sizes`.
     * 0: a result; 1: a problem.
     */
    call: (
      name: number,
      nameLength: number,
      asked: number,
      askedLength: number,
      given: number,
      givenLength: number,
      sizes: number,
    ): number => {
      let status = done;
      try {
        const body = memory.bytes(given, givenLength).slice();
        const answer = hostcall(text(name, nameLength), params(text(asked, askedLength)), body);
        keep(answer.result);
        bytes = answer.bytes;
      } catch (error) {
        if (!(error instanceof CallFailed)) throw error;
        status = failed;
        keep(error.problem);
        bytes = new Uint8Array(0);
      }
      memory.setU32(sizes, json.length);
      memory.setU32((sizes >>> 0) + 4, bytes.length);
      return status;
    },
    /** Copies what the last call gave to where there is room for it. */
    take: (jsonAt: number, bytesAt: number): number => {
      memory.bytes(jsonAt, json.length).set(json);
      memory.bytes(bytesAt, bytes.length).set(bytes);
      return done;
    },
  };
}
