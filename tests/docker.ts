/**
 * Docker Engine for tests, set up by scripts/setup-docker, with an image made from
 * a static busybox: no registry is needed. Its command is a shell.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const setUp = join(import.meta.dir, "../scripts/setup-docker");
/** Shared by all tests of this user, so that each takes no engine of its own. */
const sharedDir = join(tmpdir(), `spear-docker-${process.getuid?.() ?? 0}`);

async function run(command: string[]): Promise<string> {
  const child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [said, errors, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(`${command.join(" ")} failed:\n${errors}`);
  return said.trim();
}

/** Runs Docker's own client; its words and its exit code decide. */
export function docker(socketPath: string, ...args: string[]): Promise<string> {
  return run(["docker", "-H", `unix://${socketPath}`, ...args]);
}

/** Puts the image into the engine and returns its name, which nobody else uses. */
async function makeImage(socketPath: string): Promise<string> {
  const name = `spear-test-${crypto.randomUUID().slice(0, 8)}:1`;
  const dir = await mkdtemp(join(tmpdir(), "spear-image-"));
  try {
    const busybox = (await Bun.file("/bin/busybox.static").exists())
      ? "/bin/busybox.static"
      : "/bin/busybox";
    await run([
      "sh",
      "-ec",
      `mkdir "$1/bin" "$1/tmp"
       cp "$0" "$1/bin/busybox"
       for name in $("$0" --list); do [ "$name" = busybox ] || ln -s busybox "$1/bin/$name"; done
       tar -C "$1" -cf "$1.tar" .`,
      busybox,
      dir,
    ]);
    await docker(socketPath, "import", "--change", 'CMD ["sh"]', `${dir}.tar`, name);
  } finally {
    await rm(dir, { recursive: true, force: true });
    await rm(`${dir}.tar`, { force: true });
  }
  return name;
}

export interface TestDocker extends AsyncDisposable {
  readonly socketPath: string;
  /** An image with a shell and busybox's commands. */
  readonly image: string;
}

/** The engine that all tests share. Throws with its log where none can run. */
export async function sharedDocker(): Promise<TestDocker> {
  const socketPath = await run([setUp, sharedDir]);
  const image = await makeImage(socketPath);
  return {
    socketPath,
    image,
    [Symbol.asyncDispose]: async () => {
      await docker(socketPath, "image", "rm", "--force", image);
    },
  };
}

export interface PrivateDocker extends TestDocker {
  /** SIGKILLs the engine; its containers run on. */
  kill(): Promise<void>;
  /** Starts it again. */
  start(): Promise<void>;
}

/** An engine of one's own, to be killed; containers outlive it. Nothing outside reaches it. */
export async function privateDocker(): Promise<PrivateDocker> {
  const dir = await mkdtemp(join(tmpdir(), "spear-engine-"));
  const start = () => run([setUp, "--private", dir, "--live-restore"]);
  const socketPath = await start();
  return {
    socketPath,
    image: await makeImage(socketPath),
    start: async () => {
      await start();
    },
    kill: async () => {
      const pid = Number(await Bun.file(join(dir, "docker.pid")).text());
      process.kill(pid, "SIGKILL");
      while (await isListening(socketPath)) await Bun.sleep(5);
    },
    [Symbol.asyncDispose]: async () => {
      await start();
      await run([setUp, "--stop", dir]);
      await rm(dir, { recursive: true });
    },
  };
}

async function isListening(socketPath: string): Promise<boolean> {
  try {
    const socket = await Bun.connect({ unix: socketPath, socket: { data() {} } });
    socket.end();
    return true;
  } catch {
    return false;
  }
}

export interface TestRegistry extends AsyncDisposable {
  /** Host and port; the engine takes it although it has no TLS, since it is on loopback. */
  readonly address: string;
}

/** A registry that lets in one user. */
export async function startRegistry(user: string, password: string): Promise<TestRegistry> {
  const dir = await mkdtemp(join(tmpdir(), "spear-registry-"));
  const hash = await Bun.password.hash(password, { algorithm: "bcrypt", cost: 4 });
  await Bun.write(join(dir, "users"), `${user}:${hash}\n`);
  await Bun.write(
    join(dir, "config.yml"),
    JSON.stringify({
      version: "0.1",
      log: { level: "info" },
      storage: { filesystem: { rootdirectory: join(dir, "data") } },
      http: { addr: "127.0.0.1:0" },
      auth: { htpasswd: { realm: "test", path: join(dir, "users") } },
    }),
  );
  // A file: with a pipe it would end when nobody reads any more.
  const log = Bun.file(join(dir, "log"));
  const child = Bun.spawn(["docker-registry", "serve", join(dir, "config.yml")], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: log,
  });
  let address: string | undefined;
  while (address === undefined) {
    address = /listening on (127\.0\.0\.1:\d+)/.exec(await log.text())?.[1];
    if (child.exitCode !== null) throw new Error(`no registry started:\n${await log.text()}`);
    await Bun.sleep(5);
  }
  return {
    address,
    [Symbol.asyncDispose]: async () => {
      child.kill();
      await child.exited;
      await rm(dir, { recursive: true });
    },
  };
}
