import { dnsLabel } from '../../cluster/names.ts';
import { FlatnetError } from '../../error.ts';

/** Namespaces of the lab itself take these places. */
const RESERVED = /^(underlay|router|tor[0-9]+)$/;

/** The kernel takes 107 bytes for a unix socket's path: what is left of it for the names of lab and node. */
const LONGEST_TOGETHER = 107 - '/run/flatnet/labs//nodes//run/agent.sock'.length;

export function labName(name: string): string {
  return dnsLabel('lab name', name, 40);
}

export function nodeName(lab: string, name: string): string {
  dnsLabel('node name', name, LONGEST_TOGETHER - lab.length);
  if (!RESERVED.test(name)) return name;
  throw new FlatnetError(`'${name}' is a part of the lab itself`, {
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

/** The network namespace of a node, of a top-of-rack router, of `underlay` or of `router`: what `ip netns exec` takes. */
export function netnsOf(lab: string, part: string): string {
  return `${lab}-${part}`;
}

/** The network namespace of a pod. A dot is in no lab's or node's name, so this is never a node's. */
export function podNetns(lab: string, namespace: string, pod: string): string {
  return `${lab}.${namespace}.${pod}`;
}

/** What a person may write for a pod: `web`, or `team-a/web`. */
export function splitPodName(text: string, namespace = 'default'): { namespace: string; name: string } {
  const slash = text.indexOf('/');
  if (slash < 0) return { namespace, name: text };
  return { namespace: text.slice(0, slash), name: text.slice(slash + 1) };
}
