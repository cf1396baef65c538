/** The kernel's clocks, in nanoseconds. */
import { tape } from "../tape.ts";
import { checked, kernel, scratch } from "./kernel.ts";

export const Clock = { REALTIME: 0, MONOTONIC: 1, PROCESS_CPU: 2, THREAD_CPU: 3 } as const;

const time = scratch(16);

function read(call: "clock_gettime" | "clock_getres", clock: number): bigint {
  checked(kernel[call](clock, time.address));
  return time.view.getBigInt64(0, true) * 1_000_000_000n + time.view.getBigInt64(8, true);
}

/** Time of a clock; by default of the one that only goes forward. */
export function nowNs(clock: number = Clock.MONOTONIC): bigint {
  return tape.clock(() => read("clock_gettime", clock));
}

/** Step of a clock. */
export function stepNs(clock: number = Clock.MONOTONIC): bigint {
  return read("clock_getres", clock);
}
