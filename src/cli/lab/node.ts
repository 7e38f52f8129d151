import { FlatnetError } from '../../error.ts';
import { addNode, deleteNodeForGood, restartNode, startNode, stopNode } from '../../lab/node.ts';
import { converge } from '../../lab/pods/workloads.ts';
import { Lab } from '../../lab/record/lab.ts';
import { integer, newCommand } from '../shared/commands.ts';
import { stopSignal } from '../shared/daemon.ts';
import { print } from '../shared/output.ts';
import { type LabOptions, labOptions } from './shared.ts';

type StopOptions = LabOptions & { readonly kill?: boolean; readonly power?: boolean };
type AddOptions = LabOptions & { readonly subnet?: number };

export const command = newCommand('Stop, start, restart, add or delete a node.');

const stop = labOptions(
  newCommand('Stop a node’s agent. Its pods keep communicating: the data path is in the kernel.', [
    'flatnet lab node stop node2',
    'flatnet lab node stop node2 --kill',
    'flatnet lab node stop node2 --power   # like a power failure of the node',
  ]),
)
  .argument('<node>')
  .option('--kill', 'use SIGKILL, like a crash')
  .option('--power', 'kill the agent and disconnect the node from the network')
  .action(async (node: string, { lab: name, json, kill, power }: StopOptions) => {
    if (kill && power) {
      throw new FlatnetError('--power already kills the agent', { code: 'USAGE', object: '--kill' });
    }
    const how = power ? 'power' : kill ? 'kill' : 'stop';
    await Lab.change(name, (lab) => stopNode(lab, node, how));
    const text = { stop: 'agent stopped', kill: 'agent killed', power: 'agent killed, node disconnected' }[
      how
    ];
    print({ node, state: 'stopped', how }, json, () => `node ${node}: ${text}`);
  });

const start = labOptions(
  newCommand('Reconnect a node, start its agent, and wait until it is ready.', [
    'flatnet lab node start node2',
  ]),
)
  .argument('<node>')
  .action(async (node: string, { lab: name, json }: LabOptions) => {
    const status = await startNode(name, node, stopSignal());
    print(status, json, () => `node ${node}: ${['ready', ...status.subnets].join(', ')}`);
  });

const restart = labOptions(
  newCommand('Stop and start a node’s agent.', [
    'flatnet lab node restart node2',
    'flatnet lab node restart node2 --kill',
  ]),
)
  .argument('<node>')
  .option('--kill', 'stop it with SIGKILL')
  .action(async (node: string, { lab: name, json, kill }: StopOptions) => {
    const status = await restartNode(name, node, kill ? 'kill' : 'stop', stopSignal());
    print(status, json, () => `node ${node}: ready again, ${status.subnets.join(' ')}`);
  });

const add = labOptions(
  newCommand('Add a node, and wait until it can take pods.', [
    'flatnet lab node add',
    'flatnet lab node add edge --subnet 1',
  ]),
)
  .argument('[node]', 'default: node<n>')
  .option('--subnet <k>', 'subnet of the underlay, from 0', integer(0, 15))
  .action(async (node: string | undefined, { lab: name, json, subnet }: AddOptions) => {
    const added = await addNode(name, {
      signal: stopSignal(),
      ...(node === undefined ? {} : { name: node }),
      ...(subnet === undefined ? {} : { subnet }),
    });
    print(added, json, () => `node ${added.name}: ready, on underlay subnet ${added.subnet}`);
  });

const remove = labOptions(
  newCommand(
    'Delete a node for good: its pods, its lease, its namespace. Deployments replace their pods elsewhere.',
    ['flatnet lab node delete node3'],
  ),
)
  .argument('<node>')
  .action(async (node: string, { lab: name, json }: LabOptions) => {
    await Lab.change(name, async (lab) => {
      await deleteNodeForGood(lab, node);
      await converge(lab);
    });
    print({ node, state: 'deleted' }, json, () => `node ${node} deleted`);
  });

command.addCommand(stop.name('stop').summary('stop a node’s agent, or the whole node'));
command.addCommand(start.name('start').summary('start a stopped node'));
command.addCommand(restart.name('restart').summary('stop and start a node’s agent'));
command.addCommand(add.name('add').summary('add a node'));
command.addCommand(remove.name('delete').summary('delete a node for good'));
