/**
 * `bun run build`: one self-contained executable with every role, for Linux on x64 and
 * arm64. A target's own parts of packages come from the registry like everything else.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BunPlugin } from "bun";

const root = join(import.meta.dir, "..");
const dist = join(root, "dist");
const targets = { x64: "bun-linux-x64", arm64: "bun-linux-arm64" } as const;
type Arch = keyof typeof targets;

/** ssh2 works without this native part, and looks for it with a try. */
const withoutSshExtras: BunPlugin = {
  name: "without-ssh-extras",
  setup(build) {
    build.onResolve({ filter: /^cpu-features$|sshcrypto\.node$/ }, ({ path }) => ({
      path,
      namespace: "absent",
    }));
    build.onLoad({ filter: /.*/, namespace: "absent" }, ({ path }) => ({
      contents: `throw new Error(${JSON.stringify(`${path} is not part of the executable`)});`,
      loader: "js",
    }));
  },
};

/** The newest of each foreign machine's part of the hash that the registry has; all share one interface. */
const hashParts: Partial<Record<Arch, string>> = { arm64: "1.3.4" };

/** Another machine's part of the hash, which an installation on this one leaves out. */
async function foreignHash(arch: Arch): Promise<BunPlugin[]> {
  const version = hashParts[arch];
  if (arch === process.arch || version === undefined) return [];
  const name = `@napi-rs/blake-hash-linux-${arch}-gnu`;
  const folder = join(dist, `parts-${arch}`);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "package.json"), "{}");
  const add = ["add", "--exact", `--cpu=${arch}`, "--os=linux", `${name}@${version}`];
  const added = Bun.spawnSync([process.execPath, ...add], { cwd: folder });
  if (!added.success) throw new Error(`can't fetch ${name}: ${added.stderr.toString()}`);
  const [binding] = await Array.fromAsync(new Bun.Glob(`node_modules/${name}/*.node`).scan(folder));
  if (binding === undefined) throw new Error(`${name} has no binding`);
  return [
    {
      name: "foreign-hash",
      setup(build) {
        build.onResolve({ filter: new RegExp(`^${name}$`) }, () => ({
          path: join(folder, binding),
        }));
      },
    },
  ];
}

const wanted = process.argv.slice(2);
for (const [name, target] of Object.entries(targets)) {
  const arch = name as Arch;
  if (wanted.length > 0 && !wanted.includes(arch)) continue;
  const outfile = join(dist, arch === process.arch ? "spear" : `spear-${arch}`);
  await mkdir(dist, { recursive: true });
  await Bun.build({
    entrypoints: [
      join(root, "apps/cli/src/main.ts"),
      join(root, "apps/store/src/chunks/hashing.worker.ts"),
    ],
    target: "bun",
    format: "esm",
    bytecode: true,
    minify: { syntax: true, whitespace: true },
    compile: { target, outfile },
    // Workers, and the modules of jco's tools, are looked for by name beside the code.
    naming: { entry: "[name].[ext]", asset: "[name].[ext]" },
    plugins: [withoutSshExtras, ...(await foreignHash(arch))],
  });
  process.stdout.write(`${outfile}: ${(Bun.file(outfile).size / 1e6).toFixed(0)} MB\n`);
}
