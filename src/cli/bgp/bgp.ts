import { addCommands, type Entry, newCommand } from '../shared/commands.ts';

const COMMANDS: Readonly<Record<string, Entry>> = {
  status: { summary: 'a node’s BGP sessions', load: () => import('./status.ts') },
  routes: { summary: 'the routes a node’s BIRD knows', load: () => import('./routes.ts') },
};

export const command = newCommand('Show BGP as one node’s BIRD sees it.', [
  'flatnet bgp status --node node1',
  'flatnet bgp routes --node node1 --peer 10.0.0.2',
]);

const words = process.argv.slice(process.argv.indexOf('bgp') + 1);
await addCommands(command, COMMANDS, words);
