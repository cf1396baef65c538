/**
 * Which replica of SMS this node turns to. Every node ranks the replicas by a hash of its
 * own id and their addresses: so nodes spread evenly, and when one comes or goes only those
 * move that have to. One that failed is tried again after all the others.
 */
import type { NodeId } from "@spear/shared/ids.ts";

export class SmsReplicas {
  readonly #nodeId: NodeId;
  /** From the settings: how the node finds the cluster. */
  readonly #configured: readonly string[];
  /** What SMS said. */
  #known: readonly string[] = [];
  /** When one failed, by a count of failures. */
  readonly #failed = new Map<string, number>();
  #failures = 0;

  constructor(nodeId: NodeId, configured: readonly string[]) {
    this.#nodeId = nodeId;
    this.#configured = configured;
  }

  /** Takes what SMS says of its replicas. */
  learn(addresses: readonly string[]): void {
    if (addresses.length > 0) this.#known = addresses;
  }

  /** All that could be tried. */
  get all(): readonly string[] {
    return [...new Set([...this.#known, ...this.#configured])];
  }

  /** The one to turn to now: the longest without a failure, of those the first by rank. */
  get next(): string {
    const known = new Set(this.#known);
    const [first = ""] = this.all.toSorted(
      (a, b) =>
        (this.#failed.get(a) ?? 0) - (this.#failed.get(b) ?? 0) ||
        // Addresses of the settings may be other names of replicas that are known.
        Number(known.has(b)) - Number(known.has(a)) ||
        this.#rank(a) - this.#rank(b),
    );
    return first;
  }

  failed(address: string): void {
    this.#failed.set(address, ++this.#failures);
  }

  reached(address: string): void {
    this.#failed.delete(address);
  }

  #rank(address: string): number {
    return Bun.hash.xxHash32(`${this.#nodeId} ${address}`);
  }
}
