/** Independent S3 clients, each from its package, used as docs/s3.md says. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { spear } from "../cluster/spear.ts";
import { Program } from "../programs.ts";

// The clients are slow to start, and more so on a loaded machine.
setDefaultTimeout(300_000);

const repository = join(import.meta.dir, "../..");
const largeBytes = (20 << 20) + 1;

let document: string;
let directory: string;
let store: Program;
let environment: Record<string, string>;
let large: Buffer;

beforeAll(async () => {
  document = await readFile(join(repository, "docs/s3.md"), "utf8");
  directory = await mkdtemp(join(tmpdir(), "spear-s3-"));
  store = await new Program("store", {
    flags: {
      httpListen: "127.0.0.1:0",
      grpcListen: "127.0.0.1:0",
      redisUrl: process.env["SPEAR_TEST_REDIS"] ?? "",
      namespace: `s3-${crypto.randomUUID()}`,
      dataDir: join(directory, "store"),
      reserveBytes: 0,
    },
  }).start();
  const address = `http://${store.http}`;
  const env = { SPEAR_STORE_ADDRESS: address };
  await spear(["bucket", "create", "shared-docs"], { env });
  const { stdout } = await spear(["access-key", "create"], { env });
  const key = Object.fromEntries(
    [...stdout.matchAll(/(AWS_\w+)=(\S+)/g)].map(([, name, value]) => [name, value]),
  );
  environment = {
    ...key,
    PATH: "/usr/bin:/bin",
    HOME: directory,
    LANG: "C.UTF-8",
    SPEAR_S3: address,
    AWS_DEFAULT_REGION: "us-east-1",
    AWS_EC2_METADATA_DISABLED: "true",
  };
  large = randomBytes(largeBytes);
});
afterAll(async () => {
  await store[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

/** The commands that the document gives for a client. */
function commandsFor(client: string): string {
  const section = document.split(`### ${client}\n`)[1] ?? "";
  const code = /```\w+\n([\s\S]*?)```/.exec(section)?.[1];
  if (code === undefined) throw new Error(`the document does not show ${client}`);
  return code;
}

/** Runs a client's commands in a directory that has what they expect; what they print. */
async function follow(client: string, interpreter: string[], before = ""): Promise<string> {
  const cwd = join(directory, client.replaceAll("/", "-"));
  await mkdir(join(cwd, "photos/sub"), { recursive: true });
  await writeFile(join(cwd, "photos/a b.txt"), "hello from photos\n");
  await writeFile(join(cwd, "photos/sub/ü&+%.txt"), "more\n");
  await writeFile(join(cwd, "large.bin"), large);
  await symlink(join(repository, "node_modules"), join(cwd, "node_modules"));
  const child = Bun.spawn(interpreter, {
    cwd,
    env: environment,
    stdin: new Blob([before, commandsFor(client)]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  expect({ client, code, stderr }).toMatchObject({ client, code: 0 });
  return stdout;
}

const shell = ["bash", "-s"];
const strict = "set -euo pipefail\nshopt -s expand_aliases\n";
const bun = [process.execPath, "run", "-"];

/** The tag of an object of parts of that size. */
function tagOf(bytes: Buffer, partBytes: number): string {
  const whole = createHash("md5");
  let parts = 0;
  for (let at = 0; at < bytes.length; at += partBytes, parts++) {
    whole.update(
      createHash("md5")
        .update(bytes.subarray(at, at + partBytes))
        .digest(),
    );
  }
  return `${whole.digest("hex")}-${parts}`;
}

test.concurrent("awscli", async () => {
  const said = await follow("awscli", shell, strict);
  expect(said).toContain("hello from photos");
  expect(said).toContain("remove_bucket: aws-docs");
});

test.concurrent("s3cmd", async () => {
  const said = await follow("s3cmd", shell, strict);
  const md5 = createHash("md5").update(large).digest("hex");
  expect(said).toContain(`MD5 sum:   ${md5}`);
  expect(said).toContain("Bucket 's3://s3cmd-docs/' removed");
});

test.concurrent("rclone", async () => {
  expect(await follow("rclone", shell, strict)).toContain("hello from photos");
});

test.concurrent("restic", async () => {
  expect(await follow("restic", shell, strict)).toContain("no errors were found");
});

test.concurrent("boto3", async () => {
  const said = await follow("boto3", ["/usr/bin/python3", "-"]);
  expect(said).toContain("[{'Key': 'kind', 'Value': 'note'}]");
  expect(said).toContain("['large.bin', 'note']");
});

test.concurrent("@aws-sdk/client-s3 with lib-storage", async () => {
  const said = await follow("@aws-sdk/client-s3", bun);
  expect(said).toBe(`"${tagOf(large, 5 << 20)}"\n${largeBytes}\n`);
});

test.concurrent("Bun.S3Client", async () => {
  const said = await follow("Bun.S3Client", bun);
  expect(said).toBe(`hello ${largeBytes}\nhello\n[ "hello.txt" ]\n`);
});

test.concurrent("minio", async () => {
  expect(await follow("minio", bun)).toBe(`${largeBytes}\n`);
  expect(large.equals(await readFile(join(directory, "minio/back.bin")))).toBe(true);
});
