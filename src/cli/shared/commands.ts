import { Command, InvalidArgumentError, Option } from 'commander';

/** A command that is loaded only when chosen, so that no command pays for loading the others. */
export type Entry = { readonly summary: string; readonly load: () => Promise<{ readonly command: Command }> };

/** Adds commands: the one chosen by `words` in full, the others by name and summary for the help. */
export async function addCommands(
  parent: Command,
  entries: Readonly<Record<string, Entry>>,
  words: readonly string[],
): Promise<void> {
  const chosen = words.find((word) => !word.startsWith('-'));
  for (const [name, { summary, load }] of Object.entries(entries)) {
    const command = name === chosen ? (await load()).command : new Command(name);
    parent.addCommand(command.name(name).summary(summary));
    if (!command.description()) command.description(summary);
  }
}

/** A command that throws instead of exiting, and shows examples in its help. */
export function newCommand(description: string, examples: readonly string[] = []): Command {
  const command = new Command()
    .description(description)
    .helpCommand(false)
    .configureHelp({ sortOptions: false, showGlobalOptions: true, optionTerm })
    .showHelpAfterError(false);
  if (examples.length)
    command.addHelpText('after', `\nExamples:\n${examples.map((e) => `  ${e}`).join('\n')}`);
  return command;
}

/** `--lab <lab>`; every command that takes it also takes `--name <lab>`. */
export function labOption(description: string): Option {
  return new Option('--name, --lab <lab>', `${description} (also: --name)`);
}

/** An option's flags as the help shows them: without `--name`, which its description mentions. */
function optionTerm({ flags }: Option): string {
  return flags.replace('--name, ', '');
}

/** Parses an option that is a whole number. */
export function integer(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^[0-9]+$/.test(text) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`Write a whole number from ${min} to ${max}.`);
  };
}

/** Parses an option that may be repeated. */
export function collect<T>(read: (text: string) => T): (text: string, previous: T[] | undefined) => T[] {
  return (text, previous) => [...(previous ?? []), read(text)];
}
