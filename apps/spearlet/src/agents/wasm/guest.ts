/** What a guest is given and how it ends itself, whichever host it has. */

/** A directory that the guest is given. */
export interface Preopen {
  /** Name for the guest, as "/". */
  guest: string;
  /** Path on the host. */
  host: string;
  readOnly: boolean;
}

export interface GuestWorld {
  /** Program name first. */
  args: readonly string[];
  env: Readonly<Record<string, string>>;
  stdin: Uint8Array;
  preopens: readonly Preopen[];
}

/** Thrown through the guest to end it; a guest that catches it ends all the same. */
export class GuestExit extends Error {
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;

  constructor(how: { exitCode: number } | { signal: string }) {
    super("the guest ended itself");
    this.name = "GuestExit";
    this.exitCode = "exitCode" in how ? exitStatus(how.exitCode) : undefined;
    this.signal = "signal" in how ? how.signal : undefined;
  }
}

const maxExitCode = 0x7fff_ffff;

/** Codes are unsigned; those that no shell could show as they are become 255. */
function exitStatus(code: number): number {
  return code >>> 0 > maxExitCode ? 255 : code;
}
