/** The four clocks of preview1; those of the process count from the guest's start. */
import { Clock, nowNs, stepNs } from "../system/clock.ts";
import { Errno } from "./abi.ts";
import { WasiError } from "./memory.ts";

/** When the guest began, by the clocks of its own CPU time; preview1 numbers them as Linux does. */
const startedNs = new Map<number, bigint>();

/** Sets the clocks of process and thread to zero: the child may have run before. */
export function restartClocks(): void {
  for (const clock of [Clock.PROCESS_CPU, Clock.THREAD_CPU]) startedNs.set(clock, nowNs(clock));
}

function checkClock(clock: number): void {
  if (clock < Clock.REALTIME || clock > Clock.THREAD_CPU) throw new WasiError(Errno.INVAL);
}

/** The clock's time in nanoseconds. Throws `inval` for a clock that does not exist. */
export function clockNs(clock: number): bigint {
  checkClock(clock);
  return nowNs(clock) - (startedNs.get(clock) ?? 0n);
}

/** The clock's step in nanoseconds. Throws `inval` for a clock that does not exist. */
export function clockStepNs(clock: number): bigint {
  checkClock(clock);
  return stepNs(clock);
}
