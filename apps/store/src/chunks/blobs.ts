/** The port of what keeps blobs: whole chunks under names that are never used twice. */
export interface StoredBlob {
  readonly name: string;
  readonly bytes: number;
  /** When it was written; milliseconds since 1970. */
  readonly modifiedAtMs: number;
}

export interface Blobs extends AsyncDisposable {
  /**
   * Stores a blob; once it resolves, the blob survives loss of power.
   * Errors: `store_full`.
   */
  write(name: string, bytes: Uint8Array): Promise<void>;
  /**
   * Reads a blob into `target` from its start, as far as either goes. Returns
   * the bytes read, or undefined if there is no such blob.
   */
  read(name: string, target: Buffer): Promise<number | undefined>;
  /** Removes a blob; idempotent. */
  remove(name: string): Promise<void>;
  /** All blobs, in no order. */
  list(): AsyncIterable<StoredBlob>;
}
