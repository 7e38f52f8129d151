import { dnsLabel } from '../../cluster/names.ts';
import { FlatnetError } from '../../error.ts';

/** Names reserved for the lab's own namespaces. */
const RESERVED = /^(underlay|router|tor[0-9]+)$/;

/**
 * Maximum combined length of lab and node name: the kernel limits the path of a unix socket to 107 bytes.
 */
const MAX_COMBINED_LENGTH = 107 - '/run/flatnet/labs//nodes//run/agent.sock'.length;

export function labName(name: string): string {
  return dnsLabel('lab name', name, 40);
}

export function nodeName(lab: string, name: string): string {
  dnsLabel('node name', name, MAX_COMBINED_LENGTH - lab.length);
  if (!RESERVED.test(name)) return name;
  throw new FlatnetError(`'${name}' is reserved for the lab itself`, {
    code: 'NAME_INVALID',
    object: 'node name',
    fix: 'choose another name',
  });
}

export function podName(name: string): string {
  return dnsLabel('pod name', name);
}

export function containerName(name: string): string {
  return dnsLabel('container name', name);
}

export function namespaceName(name: string): string {
  return dnsLabel('namespace', name);
}

/** The top-of-rack router of an underlay subnet. */
export function torName(subnet: number): string {
  return `tor${subnet}`;
}

/**
 * The name of the network namespace of a node, a top-of-rack router, `underlay` or `router`, for `ip netns
 * exec`.
 */
export function netnsOf(lab: string, part: string): string {
  return `${lab}-${part}`;
}

/** The network namespace of a pod. Names of labs and nodes have no dots, so it is never a node's. */
export function podNetns(lab: string, namespace: string, pod: string): string {
  return `${lab}.${namespace}.${pod}`;
}

/** Splits a pod's name as a user writes it: `web` or `team-a/web`. */
export function splitPodName(text: string, namespace = 'default'): { namespace: string; name: string } {
  const slash = text.indexOf('/');
  if (slash < 0) return { namespace, name: text };
  return { namespace: text.slice(0, slash), name: text.slice(slash + 1) };
}
