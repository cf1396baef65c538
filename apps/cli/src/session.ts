/** What every command works with: the two servers and the output, from the global options. */
import { Option, type Command } from "commander";
import { Client, parseAddress } from "./client.ts";
import { coloured, formats, Output, plain, wantsColour, type Format } from "./output.ts";

export const defaultAddress = "http://127.0.0.1:7700";
export const defaultStoreAddress = "http://127.0.0.1:7720";

interface GlobalOptions {
  format: Format;
  address: string;
  storeAddress: string;
  token?: string;
  color: boolean;
}

/** Adds the options that every command knows. */
export function addGlobalOptions(program: Command): Command {
  return program
    .addOption(
      new Option("-o, --format <format>", "how to print").choices(formats).default("table"),
    )
    .addOption(
      new Option("--address <address>", "where SMS listens")
        .env("SPEAR_ADDRESS")
        .default(defaultAddress),
    )
    .addOption(
      new Option("--store-address <address>", "where the Object Store listens")
        .env("SPEAR_STORE_ADDRESS")
        .default(defaultStoreAddress),
    )
    .addOption(new Option("--token <token>", "token for both").env("SPEAR_TOKEN"))
    .option("--no-color", "no colours, not even on a terminal");
}

export interface Session {
  sms: Client;
  store: Client;
  output: Output;
}

/** The session that a command's options ask for; throws `invalid_argument` for a wrong address. */
export function sessionOf(command: Command): Session {
  const options = command.optsWithGlobals<GlobalOptions>();
  const { token } = options;
  const client = (what: string, given: string, flag: string, variable: string) =>
    new Client({
      what,
      address: parseAddress(given, flag),
      help: `check that it runs there ("spear dev" starts one), or name another address with ${flag} or ${variable}`,
      token,
    });
  return {
    sms: client("SMS", options.address, "--address", "SPEAR_ADDRESS"),
    store: client(
      "the Object Store",
      options.storeAddress,
      "--store-address",
      "SPEAR_STORE_ADDRESS",
    ),
    output: new Output(
      options.format,
      wantsColour(process.stdout, options.color, process.env) ? coloured : plain,
    ),
  };
}
