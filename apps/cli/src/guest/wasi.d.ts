/** The interfaces of `world.wit` as its bindings give them to JavaScript. */
declare module "wasi:cli/environment@0.2.3" {
  export function getEnvironment(): [string, string][];
  export function getArguments(): string[];
}
declare module "wasi:cli/exit@0.2.3" {
  export function exitWithCode(code: number): never;
}
declare module "wasi:cli/stdin@0.2.3" {
  export function getStdin(): { blockingRead(length: bigint): Uint8Array };
}
declare module "wasi:cli/stdout@0.2.3" {
  export function getStdout(): { blockingWriteAndFlush(bytes: Uint8Array): void };
}
declare module "wasi:cli/stderr@0.2.3" {
  export function getStderr(): { blockingWriteAndFlush(bytes: Uint8Array): void };
}
declare module "wasi:filesystem/preopens@0.2.3" {
  export interface Descriptor {
    read(length: bigint, offset: bigint): [Uint8Array, boolean];
    write(bytes: Uint8Array, offset: bigint): bigint;
    readDirectory(): { readDirectoryEntry(): { name: string } | undefined };
    createDirectoryAt(path: string): void;
    openAt(
      pathFlags: { symlinkFollow?: boolean },
      path: string,
      openFlags: { create?: boolean; directory?: boolean; truncate?: boolean },
      flags: { read?: boolean; write?: boolean; mutateDirectory?: boolean },
    ): Descriptor;
    removeDirectoryAt(path: string): void;
    unlinkFileAt(path: string): void;
  }
  export function getDirectories(): [Descriptor, string][];
}
