/**
 * The `namespace` sandbox: bubblewrap shows the command a read-only root without
 * the places where people and services keep their own, an empty /tmp, its work
 * directory, its own processes only, and no network unless it was granted. It
 * gains no privileges, and the kernel ends it with the wrapper (S1).
 */
import { lstatSync, mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { canSwitchUser, nobody, type Account } from "./account.ts";

/** Hidden behind an empty directory: what is the users', sockets of services, shared scratch. */
const hidden = ["/tmp", "/var/tmp", "/run", "/root", "/home", "/mnt", "/media", "/srv"];

export interface SandboxOptions {
  workDir: string;
  /** The node's own directory, which is hidden too. */
  dataDir: string;
  /** Share the host's network. */
  network: boolean;
  /** Whom the command runs as, where this process can switch users. */
  account: Account;
}

/** What stands before a command to run it in a sandbox. */
export function sandboxCommand({ workDir, dataDir, network, account }: SandboxOptions): string[] {
  const masks = [...hidden, dataDir].filter((dir) => isDirectory(dir));
  return [
    "bwrap",
    "--die-with-parent",
    "--new-session",
    ...["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"],
    ...(network ? [] : ["--unshare-net"]),
    ...["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"],
    ...masks.flatMap((dir) => ["--perms", dir.endsWith("tmp") ? "1777" : "0755", "--tmpfs", dir]),
    ...ancestors(workDir, masks).flatMap((dir) => ["--perms", "0755", "--dir", dir]),
    ...["--bind", workDir, workDir, "--chdir", workDir],
    ...(canSwitchUser() ? asUser(account) : ["--unshare-user", "--"]),
  ];
}

/** Every privilege goes but those to become the user, and those go with it. */
function asUser({ uid, gid }: Account): string[] {
  return [
    ...["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--"],
    ...["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups", "--inh-caps=-all", "--"],
  ];
}

function isDirectory(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** Directories above the work directory that a mask hides, outermost first. */
function ancestors(workDir: string, masks: readonly string[]): string[] {
  const found: string[] = [];
  for (let dir = dirname(workDir); dir !== "/"; dir = dirname(dir)) {
    if (masks.includes(dir)) break;
    found.unshift(dir);
  }
  return found.filter((dir) => masks.some((mask) => dir.startsWith(`${mask}/`)));
}

/** True if the sandbox works here: the programs are there and the kernel lets them. */
export async function sandboxWorks(): Promise<boolean> {
  const programs = canSwitchUser() ? ["bwrap", "setpriv"] : ["bwrap"];
  if (programs.some((program) => Bun.which(program) === null)) return false;
  const workDir = mkdtempSync(join(tmpdir(), "spear-sandbox-"));
  try {
    const wrapper = sandboxCommand({ workDir, dataDir: workDir, network: false, account: nobody });
    const quiet = { stdin: "ignore", stdout: "ignore", stderr: "ignore" } as const;
    return (await Bun.spawn([...wrapper, "true"], quiet).exited) === 0;
  } catch {
    return false;
  } finally {
    rmdirSync(workDir);
  }
}
