import { constants } from 'node:os';
import packageJson from '../../package.json' with { type: 'json' };
import { codeOf } from '../error.ts';
import { addCommands, type Entry, newCommand } from './shared/commands.ts';
import { fail } from './shared/failure.ts';

/** Every command of flatnet; each loads its own module when it is called. */
const COMMANDS: Readonly<Record<string, Entry>> = {
  lab: { summary: 'a whole cluster on this machine', load: () => import('./lab/lab.ts') },
  status: { summary: 'what a node’s agent knows and lacks', load: () => import('./status.ts') },
  diff: { summary: 'what a node’s kernel should hold and does not', load: () => import('./diff.ts') },
  bgp: { summary: 'a node’s BGP sessions and routes', load: () => import('./bgp/bgp.ts') },
  apply: { summary: 'write pools, BGP peers and the like to the store', load: () => import('./apply.ts') },
  get: { summary: 'show them', load: () => import('./get.ts') },
  delete: { summary: 'delete them', load: () => import('./delete.ts') },
  forget: { summary: 'forget a node that has left for good', load: () => import('./forget.ts') },
  ipam: { summary: 'addresses given out of blocks: check, show', load: () => import('./ipam.ts') },
  agent: { summary: 'run the agent of this node', load: () => import('./agent.ts') },
  store: { summary: 'the embedded store', load: () => import('./store.ts') },
};

const FOOTER = `
Exit status: 0 done, 1 failed, 2 asked for in the wrong way (nothing was done).
A command's own help: flatnet COMMAND --help`;

async function main(words: readonly string[]): Promise<number> {
  const program = newCommand('The pod network of a Kubernetes cluster.')
    .name('flatnet')
    .version(packageJson.version)
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

/** Errors come as exceptions from every level, and `fail` tells them. */
function setUp(command: ReturnType<typeof newCommand>): void {
  command.exitOverride();
  command.configureOutput({ outputError: () => {} });
  for (const nested of command.commands) setUp(nested);
}

/**
 * A reader that has seen enough, as `head`, is no failure: results end with it, as SIGPIPE would end them, and
 * progress goes on unseen.
 */
function outliveReaders(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error) => {
      if (codeOf(error) !== 'EPIPE') throw error;
      if (stream === process.stdout) process.exit(128 + constants.signals.SIGPIPE);
    });
  }
}

outliveReaders();
process.exitCode = await main(process.argv.slice(2));
