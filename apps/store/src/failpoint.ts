/**
 * Failpoints: named steps of what must survive a crash. A test arms them to end
 * the process right there; otherwise they do nothing.
 */
export type Step =
  | "blob.written"
  | "blob.synced"
  | "blob.renamed"
  | "blob.stored"
  | "segment.written"
  | "segment.synced"
  | "put.ingested"
  | "put.committed"
  | "journal.written"
  | "journal.synced"
  | "journal.trimmed"
  | "collect.forgotten"
  | "collect.removed"
  | "compact.appended"
  | "compact.moved"
  | "checkpoint.written"
  | "checkpoint.renamed";

let armed: ((step: Step) => void) | undefined;

export function failpoint(step: Step): void {
  armed?.(step);
}

/** Calls `hit` at every step from now on. */
export function armFailpoints(hit: (step: Step) => void): void {
  armed = hit;
}
