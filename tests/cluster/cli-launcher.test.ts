/**
 * `./spear` on machines that lack things: the launcher in a copy of the
 * repository, with a PATH of nothing but what each test puts there.
 */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readFile,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { repository } from "./spear.ts";

/** What POSIX and every distribution have. */
const usual =
  "true sh sed cat mkdir mv rm ln cp cmp dirname readlink flock tail sleep id env printf chmod touch".split(
    " ",
  );

const version = "9.9.9";
let directory: string;
let root: string;
/** Stand-ins of a test; never links to real programs, which writing would follow. */
let bin: string;
/** Links to the usual programs. */
let tools: string;
let calls: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "spear-launcher-"));
  root = join(directory, "a repository");
  bin = join(directory, "bin");
  calls = join(directory, "calls");
  await mkdir(join(root, "scripts"), { recursive: true });
  tools = join(directory, "tools");
  await mkdir(bin);
  await mkdir(tools);
  await copyFile(join(repository, "spear"), join(root, "spear"));
  await copyFile(join(repository, "scripts/setup.sh"), join(root, "scripts/setup.sh"));
  await writeFile(
    join(root, "package.json"),
    `{\n  "engines": {\n    "bun": "${version}"\n  }\n}\n`,
  );
  await writeFile(join(root, "bun.lock"), "lock 1\n");
  await writeFile(calls, "");
  for (const name of usual) {
    const path = Bun.which(name);
    if (path !== null) await symlink(path, join(tools, name));
  }
});
afterEach(() => rm(directory, { recursive: true }));

/** A program for the PATH that notes its calls and then does `body`. */
async function install(name: string, body: string): Promise<void> {
  const path = join(bin, name);
  await writeFile(path, `#!/bin/sh\nprintf '%s\\n' "${name} $*" >>'${calls}'\n${body}\n`);
  await chmod(path, 0o755);
}

/** A stand-in for Bun: knows its version, installs packages, and says how it was called. */
const fakeBun = `#!/bin/sh
case $1 in
  --version) echo ${version} ;;
  install) printf 'bun %s\\n' "$*" >>"$CALLS"; mkdir -p node_modules ;;
  *) printf '<%s>' "$@"; echo; echo "cert=$SSL_CERT_FILE name=$SPEAR_COMMAND"; exit 42 ;;
esac
`;

/** npm and node as they work with Bun's package: its install script makes the binary. */
async function installNpm(): Promise<void> {
  const make = `$3/node_modules/bun`;
  await install(
    "npm",
    `[ "$1 $2" = "install --prefix" ] || exit 9
mkdir -p "${make}/bin"
cat >"${make}/install.js" <<'EOF'
${fakeBun}
EOF
sleep 0.2`,
  );
  await install("node", `cp "$1" "\${1%/*}/bin/bun.exe" && chmod +x "\${1%/*}/bin/bun.exe"`);
}

async function launch(
  args: string[],
  options: { env?: Record<string, string>; path?: string; cwd?: string } = {},
) {
  const child = Bun.spawn([options.path ?? join(root, "spear"), ...args], {
    env: { PATH: `${bin}:${tools}`, HOME: join(directory, "home"), CALLS: calls, ...options.env },
    cwd: options.cwd ?? "/",
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { stdout, stderr, code };
}

const called = async () =>
  (await readFile(calls, "utf8")).split("\n").filter((line) => line !== "");

describe("the first start", () => {
  test("installs Bun with npm, without running install scripts, and the packages", async () => {
    await installNpm();
    const started = await launch(["run", "--", "echo", "two words", ""], {
      env: { SSL_CERT_FILE: "/certs.pem" },
    });
    expect(started.code).toBe(42);
    expect(started.stdout).toContain("<run><--><echo><two words><>\n");
    expect(started.stdout).toContain("cert=/certs.pem");
    expect(started.stderr).toBe(
      `spear: installing Bun ${version} from the npm registry\nspear: installing npm packages\n`,
    );
    const [npm, node, packages] = await called();
    expect(npm).toContain("--ignore-scripts");
    expect(npm).toContain(`bun@${version}`);
    expect(node).toContain("node_modules/bun/install.js");
    expect(packages).toBe("bun install --frozen-lockfile");
  });

  test("takes a Bun that is there, if it is the right one", async () => {
    await install("bun", fakeBun.slice(fakeBun.indexOf("case")));
    const started = await launch(["version"]);
    expect(started.code).toBe(42);
    expect(started.stderr).toBe("spear: installing npm packages\n");
    expect(existsSync(join(root, ".spear/bun"))).toBe(false);
  });

  test("gets the right Bun with another one, where there is no npm", async () => {
    await install(
      "bun",
      `case $1 in
  --version) echo 1.0.0 ;;
  add) mkdir -p "$3/node_modules/bun/bin"; cat >"$3/node_modules/bun/bin/bun.exe" <<'EOF'
${fakeBun}
EOF
    chmod +x "$3/node_modules/bun/bin/bun.exe" ;;
esac`,
    );
    expect((await launch(["version"])).code).toBe(42);
    expect((await called()).find((line) => line.startsWith("bun add"))).toContain(`bun@${version}`);
  });

  test("with neither says what to install", async () => {
    const started = await launch(["version"]);
    expect(started.code).toBe(1);
    expect(started.stderr).toContain("Bun is missing, and so is npm to install it with");
  });

  test("shows what npm said when it fails, and tries again the next time", async () => {
    await install("npm", "echo 'npm error network is unreachable' >&2; exit 1");
    const failed = await launch(["version"]);
    expect(failed.code).toBe(1);
    expect(failed.stderr).toContain("npm error network is unreachable");
    await installNpm();
    expect((await launch(["version"])).code).toBe(42);
  });

  test("several at once install once", async () => {
    await installNpm();
    const all = await Promise.all([1, 2, 3, 4].map(() => launch(["version"])));
    for (const { code } of all) expect(code).toBe(42);
    const lines = await called();
    expect(lines.filter((line) => line.startsWith("npm"))).toHaveLength(1);
    expect(lines.filter((line) => line.startsWith("bun install"))).toHaveLength(1);
  });

  test("several at once install once where there is no flock either", async () => {
    await rm(join(tools, "flock"));
    await installNpm();
    const all = await Promise.all([1, 2, 3].map(() => launch(["version"])));
    for (const { code } of all) expect(code).toBe(42);
    expect((await called()).filter((line) => line.startsWith("npm"))).toHaveLength(1);
  });

  test("does not wait for a set-up that was killed", async () => {
    await rm(join(tools, "flock"));
    await installNpm();
    await mkdir(join(root, ".spear"));
    await symlink("2000000000", join(root, ".spear/setup.holder"));
    expect((await launch(["version"])).code).toBe(42);
  });
});

describe("a later start", () => {
  beforeEach(async () => {
    await installNpm();
    await launch(["version"]);
    await writeFile(calls, "");
  });

  test("sets up nothing and is quick", async () => {
    const startedAt = performance.now();
    const started = await launch(["task", "ls"]);
    expect(performance.now() - startedAt).toBeLessThan(500);
    expect(started.stderr).toBe("");
    expect(await called()).toEqual([]);
  });

  test("works through links and from anywhere", async () => {
    await symlink(join(root, "spear"), join(directory, "absolute"));
    await symlink("absolute", join(directory, "relative"));
    const path = join(directory, "relative");
    const started = await launch(["version"], { path, cwd: directory });
    expect(started.code).toBe(42);
    expect(started.stdout).toContain(`<${root}/apps/cli/src/main.ts>`);
    expect(started.stdout).toContain(`name=${path}`);
  });

  test("installs the packages again when the lock has changed", async () => {
    await writeFile(join(root, "bun.lock"), "lock 2\n");
    expect((await launch(["version"])).stderr).toBe("spear: installing npm packages\n");
    expect(await called()).toEqual(["bun install --frozen-lockfile"]);
    expect((await launch(["version"])).stderr).toBe("");
  });

  test("installs another Bun when another is wanted", async () => {
    const manifest = join(root, "package.json");
    await writeFile(manifest, (await readFile(manifest, "utf8")).replace(version, "9.9.10"));
    const started = await launch(["version"]);
    // The stand-in has no other version to offer.
    expect(started.code).toBe(1);
    expect(started.stderr).toContain("the Bun that was installed does not run here");
  });
});

describe("redis-server", () => {
  beforeEach(async () => {
    await install("bun", fakeBun.slice(fakeBun.indexOf("case")));
    await install("id", "echo 0");
    await launch(["version"]);
    await writeFile(calls, "");
  });

  const makesRedis = (program: string) =>
    `printf '#!/bin/sh\\necho "Redis server v=7"\\n' >"${bin}/${program}"; chmod +x "${bin}/${program}"`;
  const installs = async () =>
    (await called()).filter((line) => /^(apt-get|dnf|apk|brew|sudo)/.test(line));

  test("is installed for dev and demo only, and not where another is given", async () => {
    await install("apt-get", makesRedis("redis-check-rdb"));
    for (const args of [
      ["task", "ls"],
      ["dev", "--help"],
      ["demo", "--redis", "redis://127.0.0.1:6379"],
      ["dev", "--redis=redis://127.0.0.1:6379"],
    ]) {
      await launch(args);
    }
    expect(await installs()).toEqual([]);
    expect((await launch(["dev"])).code).toBe(42);
    expect(await installs()).toHaveLength(1);
    // Debian's redis-tools has the server under another name, and starts no service.
    expect(existsSync(join(root, ".spear/bin/redis-server"))).toBe(true);
    await launch(["demo"]);
    expect(await installs()).toHaveLength(1);
  });

  test("is taken if it is there", async () => {
    await install("redis-server", "echo v=7");
    await install("apt-get", "exit 1");
    expect((await launch(["dev"])).code).toBe(42);
    expect(await installs()).toEqual([]);
  });

  test("apt-get is tried again with a fresh list of packages", async () => {
    await install(
      "apt-get",
      `case "$*" in
  *update*) touch "${directory}/updated" ;;
  *install*) [ -e "${directory}/updated" ] || exit 100; ${makesRedis("redis-check-rdb")} ;;
esac`,
    );
    expect((await launch(["dev"])).code).toBe(42);
    const done = (await installs()).map((line) => /\b(install|update)\b/.exec(line)?.[1]);
    expect(done).toEqual(["install", "update", "install"]);
  });

  test.each([
    ["dnf", "install"],
    ["apk", "add"],
    ["brew", "install"],
  ])("comes with %s", async (manager, verb) => {
    await install(manager, makesRedis("redis-server"));
    expect((await launch(["dev"])).code).toBe(42);
    const [line = "", ...more] = await installs();
    expect(line).toMatch(new RegExp(`^${manager} ${verb} .*redis$`));
    expect(more).toEqual([]);
  });

  test("needs root: sudo is used where it asks for no password", async () => {
    await install("id", "echo 1000");
    await install("apt-get", makesRedis("redis-check-rdb"));
    await install("sudo", `[ "$1" = -n ] || exit 1; shift; [ "$1" = -E ] && shift; exec "$@"`);
    expect((await launch(["dev"])).code).toBe(42);
    expect((await called()).some((line) => line.startsWith("sudo -n -E env"))).toBe(true);
  });

  test("that may not be installed is asked for, with the way around it", async () => {
    await install("id", "echo 1000");
    await install("apt-get", "exit 1");
    const started = await launch(["dev"]);
    expect(started.code).toBe(1);
    expect(started.stderr).toContain("needs root, or sudo without a password");
    expect(started.stderr).toContain("redis-server is missing and could not be installed");
    expect(started.stderr).toContain("--redis redis://HOST:6379");
  });

  test("on a machine without a known package manager is asked for too", async () => {
    const started = await launch(["demo"]);
    expect(started.code).toBe(1);
    expect(started.stderr).toContain("none of apt-get, dnf, apk and brew is here");
  });
});
