import { addCommands, type Entry, newCommand } from '../shared/commands.ts';

const COMMANDS: Readonly<Record<string, Entry>> = {
  up: { summary: 'start a lab', load: () => import('./up.ts') },
  down: { summary: 'remove a lab completely', load: () => import('./down.ts') },
  list: { summary: 'list the labs on this machine', load: () => import('./list.ts') },
  status: { summary: 'show nodes, leases, pods and problems', load: () => import('./status.ts') },
  node: { summary: 'stop, start, restart, add or delete a node', load: () => import('./node.ts') },
  store: { summary: 'stop or start the store', load: () => import('./store.ts') },
  pod: { summary: 'create, list or delete pods', load: () => import('./pod.ts') },
  apply: { summary: 'create or update objects from Kubernetes manifests', load: () => import('./apply.ts') },
  delete: { summary: 'delete the objects in Kubernetes manifests', load: () => import('./delete.ts') },
  exec: { summary: 'run a command in a pod', load: () => import('./exec.ts') },
  ping: { summary: 'ping from one pod or node to another', load: () => import('./ping.ts') },
  matrix: { summary: 'test connectivity between all pods and nodes', load: () => import('./matrix.ts') },
  bench: { summary: 'measure every way to carry packets on this machine', load: () => import('./bench.ts') },
  logs: { summary: 'show the log of an agent, a container or the store', load: () => import('./logs.ts') },
};

export const command = newCommand(
  'Run a whole cluster on this machine: every node is a network namespace with its own agent, and real CNI calls wire every pod.',
  ['flatnet lab up', 'flatnet lab pod create web --listen 80', 'flatnet lab matrix', 'flatnet lab down'],
).addHelpText('after', '\nThe nodes are network namespaces: ip netns exec flatnet-node1 ip route');

const words = process.argv.slice(process.argv.indexOf('lab') + 1);
await addCommands(command, COMMANDS, words);
