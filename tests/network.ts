/**
 * Network namespaces for tests of partitions: each holds the programs of one machine, and
 * a bridge joins them. Unplugging one drops every packet to and from it, silently, as a
 * broken switch does; connections stay open on both sides.
 */

function ip(...args: string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(["ip", ...args]);
  if (exitCode !== 0) throw new Error(`ip ${args.join(" ")}: ${stderr.toString().trim()}`);
}

/** A number that no other test has: part of names and addresses. */
function freeNumber(): number {
  const taken = Bun.spawnSync(["ip", "netns", "list"]).stdout.toString();
  for (;;) {
    const number = Math.floor(Math.random() * 4_096);
    if (!taken.includes(`spear${number}-`)) return number;
  }
}

/** Machines on one network; disposing removes them, and whatever still runs in them first. */
export class TestNetwork implements AsyncDisposable {
  readonly #number = freeNumber();
  readonly #machines: string[] = [];

  constructor() {
    if (process.getuid?.() !== 0) throw new Error("network namespaces need root");
    ip("netns", "add", this.#namespace("switch"));
    this.#inSwitch("link", "add", "bridge", "type", "bridge");
    this.#inSwitch("link", "set", "bridge", "up");
    // The test itself, and what it starts without a wrapper.
    const own = this.#namespace("host");
    ip("link", "add", own, "type", "veth", "peer", "name", "host", "netns", this.#namespace("switch")); // prettier-ignore
    ip("addr", "add", `${this.host}/24`, "dev", own);
    ip("link", "set", own, "up");
    this.#inSwitch("link", "set", "host", "up", "master", "bridge");
  }

  get #prefix(): string {
    return `10.${16 + (this.#number >> 8)}.${this.#number & 255}`;
  }

  /** Address of the test itself. */
  get host(): string {
    return `${this.#prefix}.254`;
  }

  #namespace(machine: string): string {
    return `spear${this.#number}-${machine}`;
  }

  #inSwitch(...args: string[]): void {
    ip("-n", this.#namespace("switch"), ...args);
  }

  /** Adds a machine; its address, and what to put before a command to run it there. */
  add(machine: string): { address: string; wrapper: string[] } {
    const namespace = this.#namespace(machine);
    this.#machines.push(machine);
    const address = `${this.#prefix}.${this.#machines.length}`;
    ip("netns", "add", namespace);
    const port = `p${this.#machines.length}`;
    ip("-n", namespace, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", this.#namespace("switch")); // prettier-ignore
    ip("-n", namespace, "addr", "add", `${address}/24`, "dev", "eth0");
    ip("-n", namespace, "link", "set", "eth0", "up");
    ip("-n", namespace, "link", "set", "lo", "up");
    this.#inSwitch("link", "set", port, "up");
    this.plugIn(machine);
    return { address, wrapper: ["nsenter", `--net=/run/netns/${namespace}`] };
  }

  #port(machine: string): string {
    return `p${this.#machines.indexOf(machine) + 1}`;
  }

  /** From now on every packet from and to the machine is lost. */
  unplug(machine: string): void {
    this.#inSwitch("link", "set", this.#port(machine), "nomaster");
  }

  plugIn(machine: string): void {
    this.#inSwitch("link", "set", this.#port(machine), "master", "bridge");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const machine of [...this.#machines, "switch"])
      ip("netns", "del", this.#namespace(machine));
  }
}
