import { addCommands, type Entry, newCommand } from '../shared/commands.ts';

const COMMANDS: Readonly<Record<string, Entry>> = {
  serve: { summary: 'serve the embedded store', load: () => import('./serve.ts') },
  export: { summary: 'write all that a store knows to a file', load: () => import('./export.ts') },
  import: { summary: 'write such a file to a store', load: () => import('./import.ts') },
};

export const command = newCommand('The embedded store; and moving from one store to another.', [
  'flatnet store serve --listen unix:/run/flatnet/store.sock --data /var/lib/flatnet/store.db',
  'flatnet store export --endpoint http://10.0.0.1:2379 >cluster.json',
  'flatnet store import -f cluster.json --kubeconfig ~/.kube/config',
]);

const words = process.argv.slice(process.argv.indexOf('store') + 1);
await addCommands(command, COMMANDS, words);
