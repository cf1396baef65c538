/**
 * `bun run generate`: everything that is committed but made from something else.
 *   libs/proto/src/gen                  messages and services, from the protos
 *   libs/shared/src/grpc/image.binpb    descriptors for reflection, from the protos
 *   docs/grpc.md                        the gRPC reference, from their comments
 *   docs/openapi/*.json                 the REST reference, from the running routes
 *   docs/job.schema.json                the schema of job files for editors
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { editorSchema } from "@spear/shared/job-file.ts";
import { grpcReference } from "./grpc-docs.ts";
import { openApiDocuments } from "./openapi-docs.ts";
import { root, tool } from "./tools.ts";

/** What is generated, below the repository: files and folders. */
export const generated = [
  "libs/proto/src/gen",
  "libs/shared/src/grpc/image.binpb",
  "docs/grpc.md",
  "docs/openapi",
  "docs/job.schema.json",
];

async function buf(...args: string[]): Promise<void> {
  const { exitCode, output } = await tool("buf", args, join(root, "libs/proto"));
  if (exitCode !== 0) throw new Error(`buf ${args[0]} failed:\n${output}`);
}

/** The image with source info, from which the reference is made. */
async function describedImage(): Promise<Uint8Array> {
  const directory = await mkdtemp(join(tmpdir(), "spear-image-"));
  try {
    const path = join(directory, "image.binpb");
    await buf("build", "--as-file-descriptor-set", "-o", path);
    return await readFile(path);
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** Writes all that is generated below `target`, which looks like the repository. */
export async function generate(target: string): Promise<void> {
  const write = async (path: string, text: string) => {
    await mkdir(dirname(join(target, path)), { recursive: true });
    await writeFile(join(target, path), text);
  };
  const image = join(target, "libs/shared/src/grpc/image.binpb");
  await mkdir(dirname(image), { recursive: true });
  await Promise.all([
    buf("generate", "-o", join(target, "libs/proto")),
    buf("build", "--as-file-descriptor-set", "--exclude-source-info", "-o", image),
    write("docs/job.schema.json", `${JSON.stringify(editorSchema(), null, 2)}\n`),
    describedImage().then((bytes) => write("docs/grpc.md", grpcReference(bytes))),
    openApiDocuments().then((documents) =>
      Promise.all(
        Object.entries(documents).map(([program, document]) =>
          write(`docs/openapi/${program}.json`, `${JSON.stringify(document, null, 2)}\n`),
        ),
      ),
    ),
  ]);
}

if (import.meta.main) await generate(root);
