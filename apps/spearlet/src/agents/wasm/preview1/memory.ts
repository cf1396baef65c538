/**
 * The guest's linear memory as the host reads and writes it. Every access is
 * checked against its present size; what lies outside is `fault`.
 */
import { ptr, type Pointer } from "bun:ffi";
import { at, scratch } from "../system/kernel.ts";
import { Errno } from "./abi.ts";

/** A call of the guest that ends in this preview1 error code. */
export class WasiError extends Error {
  readonly code: number;

  constructor(code: number) {
    super(`preview1 error ${code}`);
    this.name = "WasiError";
    this.code = code;
  }
}

/** Most vectors that one call of the kernel takes; the rest is a short read or write. */
const maxVectors = 1024;
const native = scratch(maxVectors * 16);

/** Vectors in the kernel's form. */
export interface Vectors {
  readonly address: Pointer;
  readonly count: number;
}

export class GuestMemory {
  #memory: WebAssembly.Memory | undefined;
  #buffer: ArrayBuffer | undefined;
  #bytes = new Uint8Array(0);
  #view = new DataView(new ArrayBuffer(0));
  #base = 0;

  /** Makes the instance's memory the one that is read and written. */
  bind(memory: WebAssembly.Memory): void {
    this.#memory = memory;
  }

  /** Its size in bytes; it never shrinks. */
  get size(): number {
    return this.#memory?.buffer.byteLength ?? 0;
  }

  /** Views go stale when the memory grows: its buffer is then another one. */
  #refresh(): void {
    const buffer = this.#memory?.buffer;
    if (buffer === this.#buffer) return;
    this.#buffer = buffer;
    this.#bytes = new Uint8Array(buffer ?? new ArrayBuffer(0));
    this.#view = new DataView(this.#bytes.buffer);
    this.#base = this.#bytes.length === 0 ? 0 : ptr(this.#bytes);
  }

  /** `offset` as an index of which `length` bytes exist. */
  #check(offset: number, length: number): number {
    this.#refresh();
    const from = offset >>> 0;
    if (from + length > this.#bytes.length) throw new WasiError(Errno.FAULT);
    return from;
  }

  /** The bytes themselves, not a copy; good until the guest runs on. */
  bytes(offset: number, length: number): Uint8Array {
    const size = length >>> 0;
    const from = this.#check(offset, size);
    return this.#bytes.subarray(from, from + size);
  }

  /** Where the kernel finds `length` bytes; good until the guest runs on. */
  address(offset: number, length: number): Pointer {
    const from = this.#check(offset, length >>> 0);
    return at(this.#base as Pointer, from);
  }

  /** The view and an index of which `length` bytes exist. */
  #at(offset: number, length: number): [view: DataView, from: number] {
    const from = this.#check(offset, length);
    return [this.#view, from];
  }

  u8(offset: number): number {
    const [view, from] = this.#at(offset, 1);
    return view.getUint8(from);
  }

  u16(offset: number): number {
    const [view, from] = this.#at(offset, 2);
    return view.getUint16(from, true);
  }

  u32(offset: number): number {
    const [view, from] = this.#at(offset, 4);
    return view.getUint32(from, true);
  }

  u64(offset: number): bigint {
    const [view, from] = this.#at(offset, 8);
    return view.getBigUint64(from, true);
  }

  setU8(offset: number, value: number): void {
    const [view, from] = this.#at(offset, 1);
    view.setUint8(from, value);
  }

  setU16(offset: number, value: number): void {
    const [view, from] = this.#at(offset, 2);
    view.setUint16(from, value, true);
  }

  setU32(offset: number, value: number): void {
    const [view, from] = this.#at(offset, 4);
    view.setUint32(from, value, true);
  }

  setU64(offset: number, value: bigint): void {
    const [view, from] = this.#at(offset, 8);
    view.setBigUint64(from, value, true);
  }

  /** The guest's list of buffers, each as a view. */
  *buffers(list: number, count: number): Generator<Uint8Array> {
    for (let index = 0; index < count >>> 0; index++) {
      const entry = (list >>> 0) + index * 8;
      yield this.bytes(this.u32(entry), this.u32(entry + 4));
    }
  }

  /** The guest's list of buffers for one call of the kernel; good until the next use. */
  vectors(list: number, count: number): Vectors {
    const used = Math.min(count >>> 0, maxVectors);
    for (let index = 0; index < used; index++) {
      const entry = (list >>> 0) + index * 8;
      const length = this.u32(entry + 4);
      const address = this.address(this.u32(entry), length);
      native.view.setUint32(index * 16, address >>> 0, true);
      native.view.setUint32(index * 16 + 4, Math.floor(address / 2 ** 32), true);
      native.view.setUint32(index * 16 + 8, length, true);
      native.view.setUint32(index * 16 + 12, 0, true);
    }
    return { address: native.address, count: used };
  }
}
