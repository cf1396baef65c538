/** Nodes spread over the replicas of SMS, move when they have to, and find one that is there. */
import { systemIds } from "@spear/shared/ids.ts";
import { expect, test } from "bun:test";
import { SmsReplicas } from "./replicas.ts";

const three = ["a:1", "b:1", "c:1"];

test("nodes spread over the replicas, and only those of one that goes move", () => {
  const counts = new Map<string, number>();
  for (let number = 0; number < 600; number++) {
    const replicas = new SmsReplicas(systemIds.next("node"), ["a:1"]);
    replicas.learn(three);
    const before = replicas.next;
    counts.set(before, (counts.get(before) ?? 0) + 1);
    replicas.learn(three.filter((address) => address !== "c:1"));
    replicas.failed("c:1");
    if (before !== "c:1") expect(replicas.next).toBe(before);
    else expect(replicas.next).not.toBe("c:1");
  }
  for (const address of three) expect(counts.get(address)).toBeGreaterThan(140);
});

test("one that failed is tried after the others, and again once it was reached", () => {
  const replicas = new SmsReplicas(systemIds.next("node"), three);
  const tried: string[] = [];
  for (let number = 0; number < 3; number++) {
    tried.push(replicas.next);
    replicas.failed(replicas.next);
  }
  expect(tried.toSorted()).toEqual(three);
  expect(replicas.next).toBe(tried[0] as string);
  for (const address of three) replicas.reached(address);
  expect(replicas.next).toBe(tried[0] as string);
});

test("what SMS says goes before what the settings say, which is kept for when all is gone", () => {
  const replicas = new SmsReplicas(systemIds.next("node"), ["entry:1"]);
  expect(replicas.next).toBe("entry:1");
  replicas.learn(["a:1"]);
  expect(replicas.next).toBe("a:1");
  replicas.failed("a:1");
  expect(replicas.next).toBe("entry:1");
  replicas.learn([]);
  expect(replicas.all).toEqual(["a:1", "entry:1"]);
});
