import { expect, test } from "bun:test";
import { aborted, Loop } from "./lifecycle.ts";
import { silentLog } from "./log.ts";

const never = 3_600_000;

test("a loop runs at once, and again for each time it was signalled while idle", async () => {
  const runs: PromiseWithResolvers<void>[] = [0, 1, 2].map(() => Promise.withResolvers<void>());
  let count = 0;
  await using loop = new Loop("test", never, silentLog, () => {
    runs[count++]?.resolve();
    return Promise.resolve();
  });
  await runs[0]?.promise;
  loop.signalled();
  await runs[1]?.promise;
  loop.signalled();
  await runs[2]?.promise;
  expect(count).toBe(3);
});

test("signals during a step are folded into one more run, which does not overlap", async () => {
  const gate = Promise.withResolvers<void>();
  const second = Promise.withResolvers<void>();
  let active = 0;
  let most = 0;
  let count = 0;
  await using loop = new Loop("test", never, silentLog, async () => {
    count += 1;
    active += 1;
    most = Math.max(most, active);
    if (count === 1) await gate.promise;
    active -= 1;
    if (count === 2) second.resolve();
  });
  for (let signal = 0; signal < 5; signal++) loop.signalled();
  gate.resolve();
  await second.promise;
  expect({ count, most }).toEqual({ count: 2, most: 1 });
});

test("a step that throws is tried again", async () => {
  const done = Promise.withResolvers<void>();
  let count = 0;
  await using loop = new Loop("test", 1, silentLog, () => {
    count += 1;
    if (count < 3) return Promise.reject(new Error("not yet"));
    done.resolve();
    return Promise.resolve();
  });
  await done.promise;
  expect(loop).toBeDefined();
});

test("disposing aborts the step that runs and waits for it", async () => {
  const started = Promise.withResolvers<void>();
  let finished = false;
  const loop = new Loop("test", never, silentLog, async (signal) => {
    started.resolve();
    await aborted(signal);
    finished = true;
  });
  await started.promise;
  await loop[Symbol.asyncDispose]();
  expect(finished).toBe(true);
});
