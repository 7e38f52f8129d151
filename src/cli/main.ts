import { constants } from 'node:os';
import packageJson from '../../package.json' with { type: 'json' };
import { codeOf } from '../error.ts';
import { addCommands, type Entry, newCommand } from './shared/commands.ts';
import { fail } from './shared/failure.ts';

/** All commands; each module is loaded only when its command is called. */
const COMMANDS: Readonly<Record<string, Entry>> = {
  lab: { summary: 'a whole cluster on this machine', load: () => import('./lab/lab.ts') },
  status: { summary: 'a node’s agent: state, pods and problems', load: () => import('./status.ts') },
  doctor: {
    summary: 'what is wrong on a node, and on the way to its peers',
    load: () => import('./doctor.ts'),
  },
  diff: { summary: 'how a node’s kernel differs from what it should hold', load: () => import('./diff.ts') },
  bgp: { summary: 'a node’s BGP sessions and routes', load: () => import('./bgp/bgp.ts') },
  config: { summary: 'show and change the network’s configuration', load: () => import('./config.ts') },
  apply: {
    summary: 'write pools, BGP peers and other resources to the store',
    load: () => import('./apply.ts'),
  },
  get: { summary: 'show resources', load: () => import('./get.ts') },
  delete: { summary: 'delete resources', load: () => import('./delete.ts') },
  forget: { summary: 'forget a node that has left for good', load: () => import('./forget.ts') },
  ipam: { summary: 'check, show and configure address blocks', load: () => import('./ipam.ts') },
  policy: { summary: 'what network policies say', load: () => import('./policy/policy.ts') },
  kubectl: {
    summary: 'nodes of a cluster, through its API server',
    load: () => import('./kubectl/kubectl.ts'),
  },
  agent: { summary: 'run the agent of this node', load: () => import('./agent.ts') },
  'udp-forwarder': {
    summary: 'carry packets for the backend udp',
    load: () => import('./udp-forwarder.ts'),
  },
  install: { summary: 'install the CNI plugin on this machine', load: () => import('./install.ts') },
  uninstall: { summary: 'remove it', load: () => import('./uninstall.ts') },
  takeover: { summary: 'take over a node from flannel', load: () => import('./takeover/takeover.ts') },
  store: { summary: 'the embedded store; export and import', load: () => import('./store/store.ts') },
};

const FOOTER = `
Exit status: 0 success, 1 failure, 2 usage error (nothing was done).
Help on a command: flatnet COMMAND --help`;

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

/** Makes commands at every level throw their errors; `fail` reports them. */
function setUp(command: ReturnType<typeof newCommand>): void {
  command.exitOverride();
  command.configureOutput({ outputError: () => {} });
  for (const nested of command.commands) setUp(nested);
}

/**
 * A reader that stops early, such as `head`, is not a failure. On standard output it ends the program, as
 * SIGPIPE would; progress on standard error is discarded.
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
const [first, ...rest] = process.argv.slice(2);
process.exitCode = await main(first === 'help' ? [...rest, '--help'] : process.argv.slice(2));
