/** `spear completion`: scripts by which shells complete our command lines. */
import { Argument, type Command } from "commander";
import { candidates } from "./complete.ts";
import { write } from "./output.ts";
import { sessionOf } from "./session.ts";

/** The shell asks this hidden command what may come next. */
const asking = "complete";

const scripts = {
  bash: `_spear() {
  local IFS=$'\\n'
  COMPREPLY=($(spear ${asking} -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
  if [[ \${COMPREPLY[0]} == */ ]]; then compopt -o nospace; fi
}
complete -o default -F _spear spear
`,
  zsh: `#compdef spear
_spear() {
  local -a found
  found=("\${(@f)$(spear ${asking} -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -z $found[1] ]]; then _files
  elif [[ $found[1] == */ ]]; then compadd -S '' -a found
  else compadd -a found
  fi
}
compdef _spear spear
`,
  fish: `function __spear_complete
  set -l found (spear ${asking} -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)
  if set -q found[1]
    printf '%s\\n' $found
  else
    __fish_complete_path (commandline -ct)
  end
end
complete -c spear -f -a '(__spear_complete)'
`,
} as const;

export function addCompletion(program: Command): void {
  program
    .command("completion")
    .summary("print a script by which a shell completes our command lines")
    .addArgument(new Argument("<shell>").choices(Object.keys(scripts)))
    .addHelpText(
      "after",
      `
Examples:
  source <(spear completion bash)
  spear completion zsh >"\${fpath[1]}/_spear"
  spear completion fish >~/.config/fish/completions/spear.fish`,
    )
    .action(async (shell: keyof typeof scripts) => {
      await write(process.stdout, scripts[shell]);
    });
  program
    .command(asking, { hidden: true })
    .argument("[words...]")
    .action(async (words: string[], _: unknown, command: Command) => {
      const found = await candidates(program, words, sessionOf(command));
      await write(process.stdout, found.map((word) => `${word}\n`).join(""));
    });
}
