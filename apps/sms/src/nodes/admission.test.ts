import { Fault } from "@spear/shared/fault.ts";
import { systemIds } from "@spear/shared/ids.ts";
import { silentLog } from "@spear/shared/log.ts";
import { connectRedis } from "@spear/shared/redis/client.ts";
import { Keys } from "@spear/shared/redis/keys.ts";
import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { Admission } from "./admission.ts";

const redis = connectRedis(process.env["SPEAR_TEST_REDIS"] ?? "", "commands", silentLog);
afterAll(() => redis.disconnect());

let keys: Keys;
let now: number;
let admission: Admission;
const admissionThat = (required: boolean) =>
  new Admission({
    redis,
    keys,
    clock: { nowMs: () => now, wait: () => Promise.resolve() },
    required,
  });
beforeEach(() => {
  keys = new Keys(`t${Math.random().toString(36).slice(2, 10)}`);
  now = 1_000;
  admission = admissionThat(true);
});

const said = (call: Promise<unknown>) =>
  call.then(
    () => "let in",
    (error: unknown) => {
      const { code, message } = Fault.from(error);
      return code === "unauthenticated" ? message : `${code}: ${message}`;
    },
  );
const id = systemIds.next("node");

describe("a new node", () => {
  test("is let in with a token, and by its own credential from then on", async () => {
    expect(await said(admission.admit(id, "", "own"))).toBe("a join token is needed");
    const { joinToken, secret } = await admission.create("rack", 60_000);
    expect(await said(admission.admit(id, secret, "own"))).toBe("let in");
    await admission.bind(id, "own");
    await admission.revoke(joinToken.id);
    expect(await said(admission.admit(id, "", "own"))).toBe("let in");
    expect(await said(admission.recognise(id, "own"))).toBe("let in");
    expect(await said(admission.admit(systemIds.next("node"), secret, "x"))).toBe(
      "the join token is not valid",
    );
  });

  test("can't take the id of another, also with a token that is good", async () => {
    const { secret } = await admission.create("");
    await admission.bind(id, "own");
    for (const call of [admission.admit(id, secret, "other"), admission.recognise(id, "")])
      expect(await said(call)).toContain("is known by another credential");
    expect(await said(admission.bind(id, "other"))).toContain("is known by another credential");
    await admission.forget(id);
    expect(await said(admission.admit(id, secret, "other"))).toBe("let in");
  });

  test("is refused with what is no token, altered, or has expired", async () => {
    const { secret, joinToken } = await admission.create("", 500);
    const last = secret.at(-2) === "A" ? "B" : "A";
    for (const wrong of [
      "x",
      `spear-join-${joinToken.id}.`,
      `${secret.slice(0, -2)}${last}${secret.at(-1)}`,
      secret.replace(joinToken.id, "00000000"),
    ]) {
      expect(await said(admission.admit(id, wrong, ""))).toBe("the join token is not valid");
    }
    now = 1_500;
    expect(await said(admission.admit(id, secret, ""))).toBe("the join token has expired");
    expect(await admission.list()).toEqual([]);
  });
});

test("where no token is asked for everybody is let in, and is known if one is asked for later", async () => {
  const open = admissionThat(false);
  expect(await said(open.admit(id, "", "own"))).toBe("let in");
  await open.bind(id, "own");
  expect(await said(open.admit(id, "", "other"))).toBe("let in");
  expect(await said(admission.admit(id, "", "own"))).toBe("let in");
  expect(await said(admission.admit(id, "", "other"))).toContain("another credential");
});

test("no secret is kept", async () => {
  const { secret } = await admission.create("rack");
  await admission.bind(id, "own-credential");
  const kept = JSON.stringify([
    await redis.hgetall(keys.joinTokens),
    await redis.hgetall(keys.nodeCredentials),
  ]);
  expect(kept).not.toContain(secret.split(".")[1] as string);
  expect(kept).not.toContain("own-credential");
});

test("bad input is refused by its field", async () => {
  expect(await said(admission.create("a\u0000"))).toStartWith("invalid_argument: name: ");
  expect(await said(admission.create("a", -1))).toStartWith("invalid_argument: ttlMs: ");
  expect(await said(admission.revoke("00000000"))).toStartWith("not_found: ");
});
