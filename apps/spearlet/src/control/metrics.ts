/** What a node tells Prometheus of itself and of the attempts that it has. */
import type { Metrics } from "@spear/shared/metrics.ts";
import type { Executions } from "../executions/executions.ts";
import type { Examine } from "./schema.ts";

/** Registers all metrics of the node. */
export function registerMetrics(
  metrics: Metrics,
  executions: Pick<Executions, "list">,
  examine: Examine,
): void {
  metrics.gauge(
    "spear_attempts",
    "Attempts on the node that have not ended, by runtime and phase.",
    ["runtime", "phase"],
    () => {
      const live = executions.list().filter(({ phase }) => phase !== "ended");
      const byKind = Map.groupBy(live, ({ runtime, phase }) => `${runtime} ${phase}`);
      return [...byKind.values()].flatMap((all) =>
        all.slice(0, 1).map(({ runtime, phase }) => [{ runtime, phase }, all.length] as const),
      );
    },
  );
  metrics.gauge("spear_runtime", "1 for each runtime that is offered now.", ["runtime"], () =>
    examine().runtimes.map(({ name }) => [{ runtime: name }, 1]),
  );
  metrics.gauge("spear_reports_pending", "Reports that SMS has not acknowledged.", [], () => [
    [{}, examine().pendingReports],
  ]);
  metrics.gauge("spear_connected", "1 if the node reaches this part.", ["part"], () => {
    const { smsConnected, redisConnected } = examine();
    return [
      [{ part: "sms" }, Number(smsConnected)],
      [{ part: "redis" }, Number(redisConnected)],
    ];
  });
}
