/** This node as the cluster is to know it, and what the cluster told it. */
import { statfsSync } from "node:fs";
import { arch, cpus, hostname, platform, release, totalmem } from "node:os";
import { NodeState, type Node as WireNode } from "@spear/proto/gen/spear/common/v1/node.ts";
import type { RegisterResponse } from "@spear/proto/gen/spear/sms/v1/node.ts";
import type { NodeId } from "@spear/shared/ids.ts";
import type { NodeUsage, RuntimeInfo } from "@spear/shared/node.ts";
import type { SpearletConfig } from "../config.ts";
import { readText } from "./identity.ts";
import { measureCapacity, UsageMeter } from "./capacity.ts";

export interface NodeDeps {
  id: NodeId;
  config: SpearletConfig;
  version: string;
  killMethod: string;
  runtimes: () => RuntimeInfo[];
  /** Attempts that run now. */
  running: () => number;
  /** What need not be fetched, if SMS is to be told. */
  cached: () => string[] | undefined;
}

export class LocalNode {
  /** This run of the SPEARlet. */
  readonly incarnation = crypto.randomUUID();
  readonly id: NodeId;
  readonly capacity;
  readonly #deps: NodeDeps;
  readonly #meter: UsageMeter;
  readonly #machine;
  #storeUrl: string | undefined;
  /** Where it listens; set before it registers. */
  addresses = { http: "", grpc: "" };

  constructor(deps: NodeDeps) {
    this.#deps = deps;
    const { config } = deps;
    this.capacity = measureCapacity(config);
    this.#machine = machineFacts(config.dataDir);
    this.#meter = new UsageMeter(config.dataDir);
    this.id = deps.id;
    this.#storeUrl = config.storeUrl;
  }

  /** HTTP address of the Object Store; undefined or empty if there is none. */
  get storeUrl(): string | undefined {
    return this.#storeUrl;
  }

  /** Keeps what SMS answered. */
  onRegistered({ storeUrl }: RegisterResponse): void {
    this.#storeUrl = this.#deps.config.storeUrl ?? storeUrl;
  }

  usage(): NodeUsage {
    return this.#meter.measure(this.#deps.running());
  }

  /** What SMS is told now and then. */
  heartbeat(): NodeUsage {
    const names = this.#deps.cached();
    return { ...this.usage(), ...(names === undefined ? {} : { cached: { names } }) };
  }

  describe(): WireNode {
    const { config, version, killMethod, runtimes } = this.#deps;
    return {
      id: this.id,
      name: config.name ?? hostname(),
      state: NodeState.UNSPECIFIED,
      httpAddress: this.addresses.http,
      grpcAddress: this.addresses.grpc,
      capacity: this.capacity,
      reserved: undefined,
      usage: undefined,
      labels: config.labels,
      runtimes: runtimes(),
      facts: {
        hostname: hostname(),
        os: platform(),
        arch: arch(),
        version,
        pid: process.pid,
        killMethod,
        ...this.#machine,
      },
      registeredAtMs: 0,
      lastSeenAtMs: 0,
      incarnation: this.incarnation,
    };
  }
}

/** What the machine is, whatever of it is offered; what can't be read is left out. */
function machineFacts(dataDir: string) {
  const { bsize, blocks } = statfsSync(dataDir);
  const all = cpus();
  return {
    kernel: release(),
    distribution: distributionIn(readText("/etc/os-release") ?? ""),
    cpuModel: all[0]?.model,
    cpus: all.length,
    memoryBytes: totalmem(),
    diskBytes: bsize * blocks,
  };
}

/** `Debian GNU/Linux 12 (bookworm)`, from a file as os-release. */
export function distributionIn(text: string): string | undefined {
  return /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(text)?.[1];
}
