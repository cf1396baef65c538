/**
 * Moving a process between control groups, as version 1 of them needs it, waits
 * until every CPU has passed a quiet moment: some ten milliseconds in which the
 * event loop stands still. The kernel can be told to favour such moves, at the
 * price of slightly dearer forks everywhere. It takes the word for as long as a
 * hierarchy with that option exists; ours holds no controller, is mounted nowhere
 * and goes with its last descriptor, however this process ends.
 */
import { closeSync } from "node:fs";
import { systemCall } from "./libc.ts";

const FSOPEN_CLOEXEC = 1;
const FSMOUNT_CLOEXEC = 1;
const FSCONFIG_SET_FLAG = 0;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;

/** One for all SPEARlets of a machine. */
const name = "spear";

/** Makes moves quick until it is disposed; undefined where the kernel or this user can't. */
export function favourMoves(): Disposable | undefined {
  const context = systemCall("fsopen", "cgroup", FSOPEN_CLOEXEC);
  if (context < 0) return undefined;
  try {
    const done = [
      systemCall("fsconfig", context, FSCONFIG_SET_FLAG, "none", 0, 0),
      systemCall("fsconfig", context, FSCONFIG_SET_STRING, "name", name, 0),
      systemCall("fsconfig", context, FSCONFIG_SET_FLAG, "favordynmods", 0, 0),
      systemCall("fsconfig", context, FSCONFIG_CMD_CREATE, 0, 0, 0),
    ];
    const mount = done.every((result) => result >= 0)
      ? systemCall("fsmount", context, FSMOUNT_CLOEXEC, 0)
      : -1;
    return mount < 0 ? undefined : { [Symbol.dispose]: () => closeSync(mount) };
  } finally {
    closeSync(context);
  }
}
