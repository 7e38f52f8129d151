import type { Backend } from '../backends/backend.ts';
import type { Configured } from '../backends/registry.ts';
import { boundUdpInodes, holdsSocket, listeningInodes } from '../linux/listening.ts';
import { allProcesses, argvOf } from '../linux/process.ts';
import { type Finding, ok, wrong } from './finding.ts';

/** Our own programs, and those that companions run, which may have the network's ports. */
const OURS = /(^|\/)(bird|flatnet-udp|udp-forwarder|flatnet)$/;

/** Whether the ports of the network's backend are free for it, or its own. */
export function portFindings({ backend, options }: Configured): Finding[] {
  const wanted = portsOf(backend, options);
  if (wanted.udp.length + wanted.tcp.length === 0) return [ok('ports', `backend ${backend.type} needs none`)];
  return [
    ...wanted.udp.map((port) => portFinding(`UDP ${port}`, boundUdpInodes(port), backend)),
    ...wanted.tcp.map((port) => portFinding(`TCP ${port}`, listeningInodes(process.pid, port), backend)),
  ];
}

function portsOf(
  backend: Backend,
  options: unknown,
): { readonly udp: readonly number[]; tcp: readonly number[] } {
  const node = backend.nodePorts?.(options);
  return {
    udp: [...(backend.decapsulates?.(options).udp ?? []), ...(node?.udp ?? [])],
    tcp: node?.tcp ?? [],
  };
}

/** A socket that no process has is the kernel's own: a tunnel device's. */
function portFinding(name: string, inodes: readonly number[], backend: Backend): Finding {
  const holder =
    inodes.length > 0 ? [...allProcesses()].find(({ pid }) => holdsSocket(pid, inodes)) : undefined;
  if (!holder) return ok('ports', `${name}: no other program has it`);
  const argv = argvOf(holder.pid);
  const program = argv[0] ?? 'a process';
  if (argv.some((word) => OURS.test(word))) return ok('ports', `${name}, of ${program}`);
  return wrong('ports', `${name} is taken by ${program} (pid ${holder.pid})`, {
    cause: `backend ${backend.type} needs it`,
    fix: 'stop that program, or choose another Port in the network’s configuration',
  });
}
