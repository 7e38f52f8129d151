import { askAgent } from '../agent/api/client.ts';
import { type AgentSocketOptions, agentSocket, agentSocketOptions } from './shared/agent-socket.ts';
import { newCommand } from './shared/commands.ts';
import { EXIT, Exit } from './shared/failure.ts';
import { print } from './shared/output.ts';

export const command = agentSocketOptions(
  newCommand(
    'What a node’s kernel lacks, holds wrong or holds too much, as the commands that would mend it. Nothing is changed. Exit status 1 when there is anything.',
    ['flatnet diff', 'flatnet diff --node node1', 'flatnet diff --all'],
  ),
)
  .option('--all', 'all that the kernel should hold, differing or not')
  .action(async (options: AgentSocketOptions & { readonly all?: boolean }) => {
    const path = agentSocket(options);
    if (options.all) {
      const { commands } = await askAgent<{ commands: string[] }>(path, { op: 'desired' });
      return print(commands, options.json, () => commands.join('\n'));
    }
    const { changes } = await askAgent<{ changes: string[] }>(path, { op: 'diff' });
    print(changes, options.json, () => changes.join('\n') || 'the kernel holds what it should');
    if (changes.length > 0) throw new Exit(EXIT.failed);
  });
