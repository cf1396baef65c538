/**
 * What an attempt has asked, by right and thing: one entry for each grant and
 * thing it was used on, however often. Bounded: what comes late is counted under
 * the grant that allowed it.
 */
import type { HostcallUse } from "@spear/shared/audit.ts";
import { systemClock } from "@spear/shared/clock.ts";
import type { Use } from "@spear/shared/grants.ts";

const mostUses = 256;
/** Name of what is counted when nothing more is named. */
const others = "*";

export class Ledger {
  readonly #uses = new Map<string, HostcallUse>();
  readonly #onNew: () => void;

  /** `onNew` is called when an entry is made. */
  constructor(onNew: () => void) {
    this.#onNew = onNew;
  }

  /** Notes one call, allowed by `grant` or refused; returns its entry. */
  note(use: Use, grant: string | undefined): HostcallUse {
    const entry = this.#entry(use, grant ?? "");
    entry.lastAtMs = systemClock.nowMs();
    if (grant === undefined) entry.refused += 1;
    else entry.calls += 1;
    return entry;
  }

  #entry({ right, target }: Use, grant: string): HostcallUse {
    const key = JSON.stringify([right, target, grant]);
    const known = this.#uses.get(key);
    if (known !== undefined) return known;
    if (this.#uses.size >= mostUses && target !== others) {
      const covered = grant.slice(grant.indexOf(":") + 1);
      return this.#entry({ right, target: others }, covered === "" ? "" : grant);
    }
    const atMs = systemClock.nowMs();
    const entry: HostcallUse = {
      right,
      target,
      grant,
      calls: 0,
      bytes: 0,
      refused: 0,
      firstAtMs: atMs,
      lastAtMs: atMs,
    };
    this.#uses.set(key, entry);
    this.#onNew();
    return entry;
  }

  /** All entries, in the order of their first use. */
  uses(): HostcallUse[] {
    return [...this.#uses.values()].map((use) => ({ ...use }));
  }
}
