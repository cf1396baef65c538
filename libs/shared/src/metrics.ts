/**
 * A program's metrics, by the conventions of Prometheus: base units, `_total` for
 * counters, few values a label (https://prometheus.io/docs/practices/naming/). What
 * others keep is read when somebody asks; what can't be read then is left out and
 * counted, so that an outage of Redis does not hide the rest.
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";

/** A value with its labels. */
export type Reading<L extends string> = readonly [
  labels: Readonly<Record<L, string>>,
  value: number,
];

/** From a request on the same machine to one that waits for a slow client, in seconds. */
const requestSeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export class Metrics {
  /** Of the text that `text` gives. */
  readonly contentType = Registry.PROMETHEUS_CONTENT_TYPE;
  readonly #registry = new Registry();
  readonly #unread: Counter<"metric">;
  readonly #requests: Histogram<"method" | "route" | "status">;

  /** `program` is sms, spearlet or store. */
  constructor(program: string, version: string) {
    this.#unread = new Counter({
      name: "spear_metrics_unread_total",
      help: "Readings that failed before this one, by metric.",
      labelNames: ["metric"],
      registers: [this.#registry],
    });
    this.#requests = this.histogram(
      "spear_http_request_seconds",
      "Time from an HTTP request to its answer; what is streamed goes on.",
      ["method", "route", "status"],
      requestSeconds,
    );
    const cpu = new Counter({
      name: "process_cpu_seconds_total",
      help: "CPU time of the process.",
      registers: [this.#registry],
      collect: () => {
        const { user, system } = process.cpuUsage();
        cpu.reset();
        cpu.inc((user + system) / 1e6);
      },
    });
    this.gauge("process_resident_memory_bytes", "Resident memory of the process.", [], () => [
      [{}, process.memoryUsage.rss()],
    ]);
    this.gauge("process_start_time_seconds", "When the process began, since the epoch.", [], () => [
      [{}, Math.round(performance.timeOrigin / 1000)],
    ]);
    this.gauge("spear_build_info", "1, with what runs here.", ["program", "version"], () => [
      [{ program, version }, 1],
    ]);
  }

  /** A gauge whose values are read when somebody asks. */
  gauge<L extends string>(
    name: string,
    help: string,
    labels: readonly L[],
    read: () => readonly Reading<L>[] | Promise<readonly Reading<L>[]>,
  ): void {
    const gauge = new Gauge<string>({
      name,
      help,
      labelNames: [...labels],
      registers: [this.#registry],
      collect: async () => {
        gauge.reset();
        try {
          for (const [values, value] of await read()) gauge.set(values, value);
        } catch {
          // Without labels there is a value to take out.
          gauge.remove({});
          this.#unread.inc({ metric: name });
        }
      },
    });
  }

  /** A histogram with these upper bounds of its buckets. */
  histogram<L extends string>(
    name: string,
    help: string,
    labels: readonly L[],
    buckets: readonly number[],
  ): Histogram<L> {
    return new Histogram({
      name,
      help,
      labelNames: [...labels],
      buckets: [...buckets],
      registers: [this.#registry],
    });
  }

  /** An HTTP request was answered; `route` is the pattern that matched, not the path. */
  onRequest(method: string, route: string, status: number, seconds: number): void {
    this.#requests.observe({ method, route, status: String(status) }, seconds);
  }

  /** Everything, in Prometheus' text format. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }
}
