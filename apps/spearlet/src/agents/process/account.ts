/** Users of the node, by name or number. */
import { readFileSync } from "node:fs";
import { AgentFailure } from "../agent.ts";

export interface Account {
  uid: number;
  gid: number;
}

/** Whom sandboxed commands run as where the node itself is root. */
export const nobody: Account = { uid: 65_534, gid: 65_534 };

/** True if this process may start others as other users. */
export function canSwitchUser(): boolean {
  return process.getuid?.() === 0;
}

/**
 * The user that a spec names, as `ann` or `1000` or `1000:1000`. Throws
 * `AgentFailure` `user_not_found`, or `user_not_allowed` where this node can't
 * or, as for root, won't run as that user.
 */
export function accountOf(user: string): Account {
  const account = numeric(user) ?? named(user);
  if (account === undefined) {
    throw new AgentFailure("user_not_found", `the node has no user ${user}`);
  }
  const own = account.uid === process.getuid?.();
  if (own || (canSwitchUser() && account.uid !== 0 && account.gid !== 0)) return account;
  throw new AgentFailure("user_not_allowed", `the node can't run a command as ${user}`);
}

function numeric(user: string): Account | undefined {
  const match = /^(\d{1,9})(?::(\d{1,9}))?$/.exec(user);
  if (match === null) return undefined;
  return { uid: Number(match[1]), gid: Number(match[2] ?? match[1]) };
}

function named(user: string): Account | undefined {
  for (const line of readFileSync("/etc/passwd", "utf8").split("\n")) {
    const [name, , uid, gid] = line.split(":");
    if (name === user) return { uid: Number(uid), gid: Number(gid) };
  }
  return undefined;
}
