/**
 * `spear sms|spearlet|store`: runs one program in this process. Their flags and
 * `--help` come from their configuration schemas. A program is loaded when it is
 * wanted: no other command pays for it. `spear store fsck` and its like are in store.ts.
 */
const frame = () => import("@spear/shared/program.ts");

interface ProgramCommand {
  /** For the list of commands. */
  brief: string;
  /** Runs it until it is told to end; resolves with the exit code. */
  run: (flags: readonly string[]) => Promise<number>;
}

export const programs: Readonly<Record<string, ProgramCommand>> = {
  sms: {
    brief: "run the control plane",
    run: async (flags) => {
      const [{ runProgram }, { smsConfig: config }, { start }] = await Promise.all([
        frame(),
        import("@spear/sms/config.ts"),
        import("@spear/sms/sms.ts"),
      ]);
      const summary = "Runs the control plane: nodes, tasks, placement. Any number over one Redis.";
      return runProgram({ name: "sms", summary, config, start }, flags);
    },
  },
  spearlet: {
    brief: "run a node",
    run: async (flags) => {
      const [{ runProgram }, { spearletConfig: config }, { start }] = await Promise.all([
        frame(),
        import("@spear/spearlet/config.ts"),
        import("@spear/spearlet/spearlet.ts"),
      ]);
      const summary = "Runs a node: takes tasks from SMS and runs them on this machine.";
      return runProgram({ name: "spearlet", summary, config, start }, flags);
    },
  },
  store: {
    brief: "run the Object Store, or check, back up and restore it",
    run: async (flags) => {
      const [action, ...words] = flags;
      if (action !== undefined && !action.startsWith("-")) {
        const { runStoreAction } = await import("./store.ts");
        return runStoreAction(action, words);
      }
      const [{ runProgram }, { storeConfig: config }, { start }] = await Promise.all([
        frame(),
        import("@spear/store/config.ts"),
        import("@spear/store/store.ts"),
      ]);
      const summary =
        "Runs the Object Store: buckets and objects, their bytes on this disk or in an S3 service.\n" +
        "spear store fsck|rebuild|scrub|backup|backups|restore does something to a store.";
      return runProgram({ name: "store", summary, config, start }, flags);
    },
  },
};
