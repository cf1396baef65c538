/** The arithmetic of leases, and its promise over every clock within the bound. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { exclusiveStopMs, Lease, type Moment, ownedForMs } from "./lease.ts";

/** A lease whose clocks the test sets. */
function leaseAt(moment: Moment) {
  return new Lease(() => ({ ...moment }));
}

test("a lease counts from when it was asked for, not from when it was granted", () => {
  const now = { steadyMs: 1_000, wallMs: 50_000 };
  const lease = leaseAt(now);
  expect(lease.leftMs).toBe(0);
  const sent = lease.stamp();
  now.steadyMs += 300;
  now.wallMs += 300;
  lease.granted(sent, 4_000);
  expect(lease.leftMs).toBe(ownedForMs(4_000) - 300);
  now.steadyMs += 4_000;
  expect(lease.leftMs).toBe(0);
});

test("an answer that comes late does not shorten what a later one has granted", () => {
  const now = { steadyMs: 0, wallMs: 0 };
  const lease = leaseAt(now);
  const first = lease.stamp();
  now.steadyMs = now.wallMs = 1_000;
  lease.granted(lease.stamp(), 4_000);
  lease.granted(first, 4_000);
  expect(lease.leftMs).toBe(ownedForMs(4_000));
});

test("a clock that stands still, or is set back, does not lengthen a lease", () => {
  const now = { steadyMs: 0, wallMs: 0 };
  const lease = leaseAt(now);
  lease.granted(lease.stamp(), 4_000);
  // The machine slept: only the clock on the wall went on.
  now.wallMs = 5_000;
  expect(lease.leftMs).toBe(0);
  now.wallMs = -60_000;
  now.steadyMs = 3_000;
  expect(lease.leftMs).toBe(ownedForMs(4_000) - 3_000);
  now.steadyMs = 4_000;
  expect(lease.leftMs).toBe(0);
});

test("whatever the clocks do within the bound, the command has ended before it starts elsewhere", () => {
  const drift = fc.double({ min: -0.005, max: 0.005, noNaN: true });
  const between = (min: number, max: number) => fc.double({ min, max, noNaN: true });
  fc.assert(
    fc.property(
      between(200, 600_000),
      drift,
      drift,
      between(0, 10_000),
      between(0, exclusiveStopMs / 1.005),
      (leaseMs, ofNode, ofRedis, onTheWayMs, stopMs) => {
        const nodeStops = ownedForMs(leaseMs) / (1 + ofNode) + stopMs;
        const startsElsewhere = onTheWayMs + (leaseMs + exclusiveStopMs) / (1 + ofRedis);
        return nodeStops <= startsElsewhere + 1e-6;
      },
    ),
  );
});
