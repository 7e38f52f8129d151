import { addCommands, type Entry, newCommand } from './commands.ts';
import { fail } from './failure.ts';

/** Every command of flatnet; each loads its own module when it is called. */
const COMMANDS: Readonly<Record<string, Entry>> = {
  lab: { summary: 'a whole cluster on this machine', load: () => import('./lab/lab.ts') },
  status: { summary: 'what a node’s agent knows and lacks', load: () => import('./status.ts') },
  diff: { summary: 'what a node’s kernel should hold and does not', load: () => import('./diff.ts') },
  agent: { summary: 'run the agent of this node', load: () => import('./agent.ts') },
  store: { summary: 'the embedded store', load: () => import('./store.ts') },
};

const FOOTER = `
Exit status: 0 done, 1 failed, 2 asked for in the wrong way (nothing was done).
A command's own help: flatnet COMMAND --help`;

async function main(words: readonly string[]): Promise<number> {
  const program = newCommand('The pod network of a Kubernetes cluster.')
    .name('flatnet')
    .addHelpText('after', FOOTER);
  const beforeDashes = words.includes('--') ? words.slice(0, words.indexOf('--')) : words;
  try {
    await addCommands(program, COMMANDS, words);
    setUp(program);
    await program.parseAsync(words, { from: 'user' });
    return 0;
  } catch (error) {
    return fail(error, beforeDashes.includes('--json'));
  }
}

/** Errors come as exceptions from every level, in one line. */
function setUp(program: ReturnType<typeof newCommand>): void {
  for (const command of [
    program,
    ...program.commands,
    ...program.commands.flatMap((each) => each.commands),
  ]) {
    command.exitOverride();
    command.configureOutput({
      outputError: (text, write) => write(`flatnet: ${text.replace(/^error: /, '')}`),
    });
    for (const nested of command.commands) nested.exitOverride();
  }
}

process.exitCode = await main(process.argv.slice(2));
