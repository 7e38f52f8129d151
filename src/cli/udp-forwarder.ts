import packageJson from '../../package.json' with { type: 'json' };
import { runForwarder } from '../companions/udp/forwarder/run.ts';
import { newCommand } from './shared/commands.ts';

export const command = newCommand(
  'Carry pods’ packets for the backend udp. Agents start it, and it outlives them.',
  [],
)
  .argument('<folder>', 'where the agent keeps its settings')
  .action((folder: string) => runForwarder(folder, packageJson.version));
