import { type AgentSocketOptions, agentSocketOptions, askSelected } from './shared/agent-socket.ts';
import { newCommand } from './shared/commands.ts';
import { EXIT, Exit } from './shared/failure.ts';
import { print } from './shared/output.ts';

export const command = agentSocketOptions(
  newCommand(
    'Show what is missing, wrong or superfluous in a node’s kernel, as the commands that would fix it. Changes nothing. Exit status 1 if there are differences.',
    ['flatnet diff', 'flatnet diff --node node1', 'flatnet diff --all'],
  ),
)
  .option('--all', 'show everything the kernel should hold')
  .action(async (options: AgentSocketOptions & { readonly all?: boolean }) => {
    if (options.all) {
      const { commands } = await askSelected(options, { op: 'desired' });
      return print(commands, options.json, () => commands.join('\n'));
    }
    const { changes } = await askSelected(options, { op: 'diff' });
    print(changes, options.json, () => changes.join('\n') || 'the kernel holds what it should');
    if (changes.length > 0) throw new Exit(EXIT.failed);
  });
