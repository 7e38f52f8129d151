import { addCommands, type Entry, newCommand } from '../shared/commands.ts';

const COMMANDS: Readonly<Record<string, Entry>> = {
  flannel: { summary: 'flannel’s node, with its running pods', load: () => import('./flannel.ts') },
  calico: { summary: 'what would become of Calico’s objects', load: () => import('./calico.ts') },
};

export const command = newCommand('Take over a node from another pod network, while its pods keep running.', [
  'flatnet takeover flannel --dry-run',
]);

const words = process.argv.slice(process.argv.indexOf('takeover') + 1);
await addCommands(command, COMMANDS, words);
