/**
 * The arithmetic of leases: how long a node may take a task for its own that must
 * never run twice at once, and how long SMS waits before it starts it elsewhere.
 *
 * A node sends a heartbeat at s, Redis takes it at r ≥ s and keeps the lease for L by
 * its own clock. No clock runs faster or slower than true time by more than ρ. So the
 * lease ends at r + L / (1 + ρ) or later, and until then nobody gives the task away.
 * The node knows s only, and counts D by its own clock: it stops its command at
 * s + D / (1 − ρ) or earlier. With D = L (1 − ρ) / (1 + ρ) that is s + L / (1 + ρ), not
 * after the end of the lease. What the stop itself takes, K, comes on top: SMS starts
 * the task elsewhere only W after the lease's end, so K may be as long as W / (1 + ρ).
 */

/** ρ: ten times what a clock that is being corrected is off by. */
const clockDrift = 0.005;

/** W: how long a node may take to stop a command whose lease has ended, in milliseconds. */
export const exclusiveStopMs = 3_000;

/** D: how long a node may count on a lease, by its own clock, from when it asked for it. */
export function ownedForMs(leaseMs: number): number {
  return (leaseMs * (1 - clockDrift)) / (1 + clockDrift);
}

/** A moment by both clocks of a machine. */
export interface Moment {
  /** By the clock that only goes forward, and stands still while the machine sleeps. */
  steadyMs: number;
  /** By the clock on the wall, which may be set. */
  wallMs: number;
}

function systemMoment(): Moment {
  return { steadyMs: performance.now(), wallMs: Date.now() };
}

/** What a node knows of its lease. */
export class Lease {
  readonly #now: () => Moment;
  #sent: Moment | undefined;
  #forMs = 0;

  constructor(now: () => Moment = systemMoment) {
    this.#now = now;
  }

  /** The moment at which a renewal is sent. */
  stamp(): Moment {
    return this.#now();
  }

  /** A renewal that was sent at `sent` has been granted for `leaseMs`. */
  granted(sent: Moment, leaseMs: number): void {
    if (this.#sent !== undefined && sent.steadyMs < this.#sent.steadyMs) return;
    this.#sent = sent;
    this.#forMs = ownedForMs(leaseMs);
  }

  /**
   * How long the node still owns what it holds, in milliseconds; 0 if it does not. Of the
   * two clocks the one counts by which more time has passed: a clock that was set forward
   * ends the lease too early, never too late.
   */
  get leftMs(): number {
    if (this.#sent === undefined) return 0;
    const { steadyMs, wallMs } = this.#now();
    const passed = Math.max(steadyMs - this.#sent.steadyMs, wallMs - this.#sent.wallMs);
    return Math.max(0, this.#forMs - passed);
  }
}
