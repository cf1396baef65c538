/** The four clocks of preview1; those of the process count from the guest's start. */
import { checked, libc, scratch } from "../system/libc.ts";
import { Errno } from "./abi.ts";
import { WasiError } from "./memory.ts";

/** preview1's clock → Linux's; the numbers happen to agree. */
const clocks = 4;
const firstOwnClock = 2;
const time = scratch(16);
const startedNs = [0n, 0n, 0n, 0n];

function read(call: "clock_gettime" | "clock_getres", clock: number): bigint {
  if (clock < 0 || clock >= clocks) throw new WasiError(Errno.INVAL);
  checked(libc[call](clock, time.address));
  return time.view.getBigInt64(0, true) * 1_000_000_000n + time.view.getBigInt64(8, true);
}

/** Sets the clocks of process and thread to zero: the child may have run before. */
export function restartClocks(): void {
  for (let clock = firstOwnClock; clock < clocks; clock++) {
    startedNs[clock] = read("clock_gettime", clock);
  }
}

/** The clock's time in nanoseconds. Throws `inval` for a clock that does not exist. */
export function clockNs(clock: number): bigint {
  return read("clock_gettime", clock) - (startedNs[clock] ?? 0n);
}

/** The clock's step in nanoseconds. */
export function clockStepNs(clock: number): bigint {
  return read("clock_getres", clock);
}
