import { addCommands, type Entry, newCommand } from '../shared/commands.ts';

const COMMANDS: Readonly<Record<string, Entry>> = {
  explain: { summary: 'whether a connection is allowed, and why', load: () => import('./explain.ts') },
  denied: { summary: 'connections that were denied last', load: () => import('./denied.ts') },
  list: { summary: 'policies that were applied to the store', load: () => import('./list.ts') },
  show: { summary: 'what is in force for a pod, with counters', load: () => import('./show.ts') },
  tables: { summary: 'what the kernel holds for policies', load: () => import('./tables.ts') },
  test: { summary: 'check expected verdicts, from files alone', load: () => import('./test.ts') },
};

export const command = newCommand(
  'Ask what network policies say, and what came of them. Nothing is changed, and only list, show and denied need a cluster.',
  [
    'flatnet policy explain default/client default/web --port 80 -f cluster.yaml',
    'flatnet policy test -f cases.yaml',
  ],
);

const words = process.argv.slice(process.argv.indexOf('policy') + 1);
await addCommands(command, COMMANDS, words);
