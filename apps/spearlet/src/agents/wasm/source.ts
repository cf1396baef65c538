/** Where a guest's bytes come from. */
import type { TaskSpec } from "@spear/shared/task.ts";
import { AgentFailure } from "../agent.ts";

/** Bucket of the modules that are uploaded by their digest. */
export const moduleBucket = "spear-modules";

/** A module on this node's disk. */
export interface ModuleFile {
  path: string;
  /** SHA-256 of its bytes, in lower-case hex. */
  sha256: string;
}

/**
 * Brings an object, as "bucket/key", or what a URL names to the disk. Throws `AgentFailure` if there
 * is none or its bytes are not those of its digest.
 */
export type FetchModule = (source: string, signal: AbortSignal) => Promise<ModuleFile>;

const byDigest = /^sha256:([0-9a-f]{64})$/;
const byUrl = /^https?:\/\/[^#\s]+#sha256=[0-9a-f]{64}$/;

/** What holds the spec's module: an object, as "bucket/key", or a URL with its digest. */
export function moduleObject(spec: TaskSpec): string {
  const module = spec.wasm?.module ?? "";
  const digest = byDigest.exec(module)?.[1];
  if (digest !== undefined) return `${moduleBucket}/${digest}`;
  if (/^[^/:]+\/./.test(module) || byUrl.test(module)) return module;
  throw new AgentFailure(
    "invalid_module",
    `"${module}" names no module: give bucket/key of an object, sha256: and 64 hex digits, or a URL ` +
      "that ends in #sha256= and 64 hex digits",
  );
}

/** What the guest sees as its own name. */
export function programName(spec: TaskSpec): string {
  const module = spec.wasm?.module ?? "";
  if (byDigest.test(module)) return spec.name ?? "guest.wasm";
  const path = module.split(/[?#]/)[0] ?? "";
  return path.slice(path.lastIndexOf("/") + 1);
}
