import { Fields } from '../../cluster/fields.ts';
import { isNodeName } from '../../cluster/names.ts';
import { parseCidr, sizeOf } from '../../ip/cidr.ts';
import type { KubernetesObject } from '../../kubernetes/api/object.ts';
import { type Affinity, type Block, type Handle, type IpamConfig, isAffinityState } from '../ports/blocks.ts';
import { readBlock, readConfig, readHandle, writeBlock } from '../values/blocks.ts';
import { affinityName, cidrName, handleName } from './names.ts';

/** The name of the only IPAMConfig. */
export const CONFIG_NAME = 'default';

/** `status` is for `kubectl get` alone: nobody reads it back. */
export function blockObject(block: Block): KubernetesObject {
  return {
    metadata: { name: cidrName(block.cidr) },
    spec: writeBlock(block),
    status: { addresses: Number(sizeOf(block.cidr)), used: block.allocations.size },
  };
}

/** Throws CONFIG_INVALID, as do all that follow, naming the field. */
export function blockOf(object: KubernetesObject): Block {
  const fields = specOf(object);
  const block = readBlock(fields);
  checkName(object, cidrName(block.cidr));
  return block;
}

export function affinityObject({ node, cidr, state }: Affinity): KubernetesObject {
  return { metadata: { name: affinityName(node, cidr) }, spec: { node, cidr, state } };
}

export function affinityOf(object: KubernetesObject): Affinity {
  const fields = specOf(object);
  const node = need(fields, 'node', fields.string('node'));
  if (!isNodeName(node)) throw fields.invalid('node', `'${node}' is not the name of a node`);
  const cidr = need(fields, 'cidr', fields.parsed('cidr', parseCidr));
  const state = need(fields, 'state', fields.string('state'));
  if (!isAffinityState(state)) throw fields.invalid('state', `'${state}' must be pending or confirmed`);
  checkName(object, affinityName(node, cidr));
  return { node, cidr, state };
}

export function handleObject(id: string, { node, addresses }: Handle): KubernetesObject {
  return { metadata: { name: handleName(id) }, spec: { id, ...(node !== undefined && { node }), addresses } };
}

export function handleOf(object: KubernetesObject): { readonly id: string; readonly handle: Handle } {
  const fields = specOf(object);
  const id = need(fields, 'id', fields.string('id'));
  const handle = readHandle(fields);
  checkName(object, handleName(id));
  return { id, handle };
}

export function configOf(object: KubernetesObject): IpamConfig {
  checkName(object, CONFIG_NAME);
  return readConfig(specOf(object));
}

function specOf({ spec }: KubernetesObject): Fields {
  return new Fields(spec, 'spec');
}

/** An object under a foreign name would be one more of what must be single. */
function checkName({ metadata, spec }: KubernetesObject, name: string): void {
  if (metadata.name === name) return;
  throw new Fields({ spec }, 'metadata').invalid('name', `'${metadata.name}' should be '${name}'`);
}

function need<T>(fields: Fields, name: string, value: T | undefined): T {
  if (value === undefined) throw fields.invalid(name, 'is missing');
  return value;
}
