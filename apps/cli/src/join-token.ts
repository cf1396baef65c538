/** `spear node token`: tokens with which nodes join. */
import type { JoinToken } from "@spear/shared/node.ts";
import type { Command } from "commander";
import type { Column } from "./output.ts";
import { sessionOf } from "./session.ts";
import { parseDurationMs } from "./values.ts";

const time = (ms: number | undefined) => (ms === undefined ? "" : new Date(ms).toISOString());

const columns: readonly Column<JoinToken>[] = [
  ["ID", ({ id }) => id],
  ["NAME", ({ name }) => name],
  ["MADE", ({ createdAtMs }) => time(createdAtMs)],
  ["EXPIRES", ({ expiresAtMs }) => time(expiresAtMs) || "never"],
];

export function addJoinToken(node: Command): void {
  const token = node
    .command("token")
    .summary("make and revoke tokens with which nodes join")
    .description(
      "Tokens that a new node has to show where SMS runs with --join-tokens required.\n" +
        "A node that has joined is known by a credential of its own from then on.",
    );
  token
    .command("create")
    .summary("make a token; it is shown this once")
    .option("--name <name>", "name for people")
    .option(
      "--ttl <duration>",
      "how long it is good for, as 1h; 0s: for ever (default: 1d)",
      parseDurationMs,
    )
    .action(async (options: { name?: string; ttl?: number }, command: Command) => {
      const { sms, output } = sessionOf(command);
      const body = {
        ...(options.name === undefined ? {} : { name: options.name }),
        ...(options.ttl === undefined ? {} : { ttlMs: options.ttl }),
      };
      const made = await sms.json<{ joinToken: JoinToken; secret: string }>(
        "POST",
        "/v1/join-tokens",
        { body },
      );
      await output.done(made, made.secret);
    });
  token
    .command("ls")
    .summary("list tokens that have not expired")
    .action(async (_: unknown, command: Command) => {
      const { sms, output } = sessionOf(command);
      const { joinTokens } = await sms.json<{ joinTokens: JoinToken[] }>("GET", "/v1/join-tokens");
      await output.many(joinTokens, columns);
    });
  token
    .command("revoke")
    .summary("make a token worthless; nodes that have joined with it stay")
    .argument("<token-id>", "as token ls shows it")
    .action(async (id: string, _: unknown, command: Command) => {
      const { sms, output } = sessionOf(command);
      await sms.request("DELETE", `/v1/join-tokens/${encodeURIComponent(id)}`);
      await output.done({ id, revoked: true }, `${id} is revoked`);
    });
}
