import type { Command } from "commander";
import { expect, test } from "bun:test";
import { createProgram } from "./program.ts";

const width = 100;

/** A command and all below it that help shows. */
function all(command: Command): Command[] {
  const shown = command.createHelp().visibleCommands(command);
  return [command, ...command.commands.filter((inner) => shown.includes(inner)).flatMap(all)];
}

function helpOf(command: Command): string {
  let text = "";
  command.configureOutput({
    writeOut: (piece) => (text += piece),
    getOutHelpWidth: () => width,
    getOutHasColors: () => false,
  });
  command.outputHelp();
  return text;
}

const commands = all(createProgram());
const pathOf = (command: Command): string =>
  command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;

test.each(commands.map((command) => [pathOf(command), command] as const))(
  "help of %s",
  (_, command) => {
    expect(helpOf(command)).toMatchSnapshot();
  },
);

test("every command says in a line what it does", () => {
  for (const command of commands) {
    expect(`${pathOf(command)}: ${command.summary() || command.description()}`).toMatch(/: \S/);
  }
});
