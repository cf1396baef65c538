/** The examples of docs/tasks.md, run line by line as a reader would. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFile, symlink } from "node:fs/promises";
import { join } from "node:path";
import { Cluster } from "../programs.ts";
import { environment, repository, spearCommand } from "./spear.ts";

/** Where the JavaScript engine of components is kept once it is made, which takes a minute. */
const cache = join(repository, "node_modules/.cache");
const timeoutMs = 600_000;

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start({
    store: true,
    sms: { leaseMs: 60_000 },
    spearlet: { runtimes: "process,wasm", slots: 8, cpu: 8, memoryBytes: 2 ** 33 },
  });
});
afterAll(() => cluster[Symbol.asyncDispose]());

test(
  "every line of the examples works",
  async () => {
    const text = await readFile(join(repository, "docs/tasks.md"), "utf8");
    const lines = /```sh\n([\s\S]*?)```/.exec(text)?.[1] ?? "";
    // What they write goes into the cluster's directory.
    for (const name of ["examples", "LICENSE"]) {
      await symlink(join(repository, name), join(cluster.directory, name));
    }
    const spear = spearCommand().map((word) => `'${word}'`);
    const shell = Bun.spawn(["sh", "-ec", `spear() { ${spear.join(" ")} "$@"; }\n${lines}`], {
      cwd: cluster.directory,
      env: environment({
        SPEAR_ADDRESS: cluster.sms.http,
        SPEAR_STORE_ADDRESS: cluster.store?.http ?? "",
        XDG_CACHE_HOME: cache,
      }),
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [stdout, stderr, code] = await Promise.all([
      shell.stdout.text(),
      shell.stderr.text(),
      shell.exited,
    ]);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    const licence = await readFile(join(repository, "LICENSE"));
    expect(stdout).toContain(`\n${new Bun.CryptoHasher("sha256").update(licence).digest("hex")}\n`);
    expect(stdout).toContain("\nHELLO\n");
    expect(stdout).toContain("words.wasm\n2 be\n1 not\n1 or\n2 to\n");
  },
  timeoutMs,
);
