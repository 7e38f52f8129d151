import { addCommands, type Entry, newCommand } from '../shared/commands.ts';

const COMMANDS: Readonly<Record<string, Entry>> = {
  status: { summary: 'all nodes, as the API server knows them', load: () => import('./status.ts') },
  node: { summary: 'what a node’s own agent says', load: () => import('./node.ts') },
};

export const command = newCommand(
  'See a cluster from outside, through its API server. With bin/kubectl-flatnet on the PATH: kubectl flatnet.',
  ['kubectl flatnet status', 'kubectl flatnet node worker1 -- diff'],
);

const words = process.argv.slice(process.argv.indexOf('kubectl') + 1);
await addCommands(command, COMMANDS, words);
