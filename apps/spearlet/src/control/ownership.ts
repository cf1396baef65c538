/**
 * Whether this node may still run what must never run twice at once: as long as the
 * lease is known to last. When it ends, exclusive attempts are ended here, before SMS
 * starts them elsewhere; see lease.ts for the arithmetic.
 */
import { Lease, type Moment } from "@spear/shared/lease.ts";

/** Looked at this often, in milliseconds: a machine that slept must not rely on its timers. */
const lookMs = 200;

export class Ownership implements Disposable {
  readonly #lease = new Lease();
  readonly #timer: NodeJS.Timeout;
  #owned = false;

  /** `onLost` is called each time the lease has ended. */
  constructor(onLost: () => void) {
    this.#timer = setInterval(() => {
      if (this.owned || !this.#owned) return;
      this.#owned = false;
      onLost();
    }, lookMs);
  }

  /** True while nobody else can have been given what this node holds. */
  get owned(): boolean {
    return this.#lease.leftMs > 0;
  }

  /** The moment at which a renewal is sent. */
  stamp(): Moment {
    return this.#lease.stamp();
  }

  /** SMS has renewed the lease. */
  granted(sent: Moment, leaseMs: number): void {
    this.#lease.granted(sent, leaseMs);
    this.#owned = true;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
