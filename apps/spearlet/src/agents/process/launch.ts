/** From a spec to what is started: whose it is, what wraps it, what is refused. */
import type { TaskSpec } from "@spear/shared/task.ts";
import { AgentFailure, type AttemptContext } from "../agent.ts";
import { accountOf, canSwitchUser, nobody, type Account } from "./account.ts";
import { sandboxCommand } from "./sandbox.ts";
import { mark } from "./tree.ts";

export type Sandbox = NonNullable<TaskSpec["sandbox"]>;

/** What this node lets a command have. */
export interface LaunchPolicy {
  /** The sandboxes that are allowed and work, the default first. */
  sandboxes: readonly Sandbox[];
  /** A command in a sandbox may have the host's network, if its spec asks for it. */
  hostNetwork: boolean;
  /** The node's own directory. */
  dataDir: string;
}

export interface Launch {
  argv: string[];
  env: Record<string, string>;
  /** Runs as this user; undefined: as the node's own. */
  account: Account | undefined;
  /** The first process is a wrapper, which must not get the command's signals. */
  wrapped: boolean;
}

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/**
 * Throws `AgentFailure` for what the node does not allow: `sandbox_not_allowed`,
 * `network_not_allowed`, `user_not_allowed`, `user_not_found`.
 */
export function planLaunch({ spec, env, workDir }: AttemptContext, policy: LaunchPolicy): Launch {
  const { command = [], user = "", network } = spec.process ?? {};
  const sandbox = spec.sandbox ?? policy.sandboxes[0];
  if (sandbox === undefined || !policy.sandboxes.includes(sandbox)) {
    const allowed = policy.sandboxes.join(", ");
    throw new AgentFailure(
      "sandbox_not_allowed",
      `the node does not run processes with sandbox ${sandbox ?? "none"}, but with ${allowed}`,
    );
  }
  const account = user === "" ? undefined : accountOf(user);
  const base = { PATH: defaultPath, HOME: workDir, TMPDIR: workDir };
  if (sandbox === "none") {
    if (network === "none") {
      throw new AgentFailure("network_not_allowed", "only a sandbox takes the network away");
    }
    return { argv: command, env: { ...base, ...env, ...mark }, account, wrapped: false };
  }
  if (network === "host" && !policy.hostNetwork) {
    throw new AgentFailure("network_not_allowed", "the node gives sandboxes no network");
  }
  const as = account ?? (canSwitchUser() ? nobody : undefined);
  if (as?.uid === 0) {
    throw new AgentFailure("user_not_allowed", "a sandbox does not run a command as root");
  }
  const wrapper = sandboxCommand({
    workDir,
    dataDir: policy.dataDir,
    network: network === "host",
    account: as ?? nobody,
  });
  return {
    argv: [...wrapper, ...command],
    env: { ...base, TMPDIR: "/tmp", ...env, ...mark },
    account: as,
    wrapped: true,
  };
}
