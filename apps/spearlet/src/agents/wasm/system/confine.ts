/**
 * What the child takes from itself before it touches a guest, so that even a
 * guest that broke out of the engine gains little: it dies with its SPEARlet,
 * gains no privileges, starts no program or process, and has no network.
 */
import { E, exitNow, kernel, scratch } from "./kernel.ts";

const PR_SET_PDEATHSIG = 1;
const PR_SET_NO_NEW_PRIVS = 38;
const SIGKILL = 9;
const RLIMIT_CPU = 0;
const RLIMIT_CORE = 4;
const limits = scratch(16);

/** Ends this process when its parent ends; at once if that has already happened. */
export function dieWithParent(parent: number): void {
  kernel.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (kernel.getppid() !== parent) exitNow(1);
}

function limit(resource: number, soft: number, hard: number): void {
  limits.view.setBigUint64(0, BigInt(soft), true);
  limits.view.setBigUint64(8, BigInt(hard), true);
  kernel.prlimit64(0, resource, limits.address, null);
}

/** Lets the kernel end this process once it has used so much CPU time, in seconds. */
export function limitCpu(seconds: number): void {
  limit(RLIMIT_CPU, seconds, seconds + 1);
}

const x64 = process.arch === "x64";
/** System calls by number: x64, arm64; -1 where the architecture has none. */
const calls = {
  socket: [41, 198],
  socketpair: [53, 199],
  bind: [49, 200],
  listen: [50, 201],
  accept: [43, 202],
  accept4: [288, 242],
  connect: [42, 203],
  fork: [57, -1],
  vfork: [58, -1],
  clone: [56, 220],
  clone3: [435, 435],
  execve: [59, 221],
  execveat: [322, 281],
  ptrace: [101, 117],
  process_vm_readv: [310, 270],
  process_vm_writev: [311, 271],
  kill: [62, 129],
  pidfd_send_signal: [424, 424],
  pidfd_getfd: [438, 438],
  mount: [165, 40],
  umount2: [166, 39],
  pivot_root: [155, 41],
  chroot: [161, 51],
  unshare: [272, 97],
  setns: [308, 268],
  bpf: [321, 280],
  perf_event_open: [298, 241],
  io_uring_setup: [425, 425],
  userfaultfd: [323, 282],
  open_by_handle_at: [304, 265],
  keyctl: [250, 219],
  add_key: [248, 217],
  request_key: [249, 218],
  init_module: [175, 105],
  finit_module: [313, 273],
  kexec_load: [246, 104],
  reboot: [169, 142],
} satisfies Record<string, [number, number]>;

function number(name: keyof typeof calls): number {
  return calls[name][x64 ? 0 : 1];
}

/** Instructions of classic BPF. */
const LOAD = 0x20;
const JUMP_EQUAL = 0x15;
const JUMP_SET = 0x45;
const RETURN = 0x06;
const ALLOW = 0x7fff_0000;
const FAIL = 0x0005_0000;
const KILL = 0x8000_0000;
const offsetNumber = 0;
const offsetArchitecture = 4;
const offsetFirstArgument = 16;
const auditArchitecture = x64 ? 0xc000_003e : 0xc000_00b7;
const x32Bit = 0x4000_0000;
const CLONE_THREAD = 0x10000;
const ENOSYS = 38;

type Instruction = [code: number, jumpTrue: number, jumpFalse: number, value: number];

/** The filter: what is not named goes through. */
function filter(): Instruction[] {
  const special = new Set(["clone", "clone3"]);
  const refused = (Object.keys(calls) as (keyof typeof calls)[])
    .filter((name) => !special.has(name) && number(name) >= 0)
    .map(number);
  return [
    [LOAD, 0, 0, offsetArchitecture],
    [JUMP_EQUAL, 1, 0, auditArchitecture],
    [RETURN, 0, 0, KILL],
    [LOAD, 0, 0, offsetNumber],
    [JUMP_SET, 0, 1, x32Bit],
    [RETURN, 0, 0, FAIL | ENOSYS],
    // The C library then uses clone, whose flags a filter can read.
    [JUMP_EQUAL, 0, 1, number("clone3")],
    [RETURN, 0, 0, FAIL | ENOSYS],
    ...refused.flatMap((call): Instruction[] => [
      [JUMP_EQUAL, 0, 1, call],
      [RETURN, 0, 0, FAIL | E.PERM],
    ]),
    // The engine's own threads may still be started.
    [JUMP_EQUAL, 0, 3, number("clone")],
    [LOAD, 0, 0, offsetFirstArgument],
    [JUMP_SET, 1, 0, CLONE_THREAD],
    [RETURN, 0, 0, FAIL | E.PERM],
    [RETURN, 0, 0, ALLOW],
  ];
}

const SECCOMP_SET_MODE_FILTER = 1;
const SECCOMP_FILTER_FLAG_TSYNC = 1;

/**
 * Puts the filter on every thread of this process, for good. False where the
 * kernel has none; the engine is then the only wall.
 */
function refuseSystemCalls(): boolean {
  const program = filter();
  const instructions = scratch(program.length * 8);
  for (const [index, [code, jumpTrue, jumpFalse, value]] of program.entries()) {
    instructions.view.setUint16(index * 8, code, true);
    instructions.view.setUint8(index * 8 + 2, jumpTrue);
    instructions.view.setUint8(index * 8 + 3, jumpFalse);
    instructions.view.setUint32(index * 8 + 4, value >>> 0, true);
  }
  const header = scratch(16);
  header.view.setUint16(0, program.length, true);
  header.view.setBigUint64(8, BigInt(instructions.address), true);
  const { address } = header;
  // A positive answer is the id of a thread that could not follow.
  return kernel.seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, address) === 0;
}

/** Takes away what no guest needs. Call it once, when all of the child is loaded. */
export function confine(): boolean {
  limit(RLIMIT_CORE, 0, 0);
  kernel.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  return refuseSystemCalls();
}
