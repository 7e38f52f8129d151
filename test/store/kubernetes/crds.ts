import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readYaml } from '../../../src/cluster/yaml.ts';
import { codeOf } from '../../../src/error.ts';
import type { KubernetesClient } from '../../../src/kubernetes/api/client.ts';
import { list } from '../../../src/kubernetes/api/list.ts';
import { asObject } from '../../../src/kubernetes/api/object.ts';
import { jsonBody } from '../../../src/kubernetes/api/request.ts';
import { collectionPath, type ResourceType } from '../../../src/kubernetes/api/resource.ts';
import {
  BLOCK_AFFINITIES,
  IPAM_BLOCKS,
  IPAM_CONFIGS,
  IPAM_HANDLES,
  RESOURCE_TYPES,
} from '../../../src/store/kubernetes/crds.ts';
import { CRDS } from '../../kubernetes/api-server.ts';
import { eventually } from '../servers.ts';

const FOLDER = join(import.meta.dirname, '../../../deploy/crds');

export const OUR_TYPES: readonly ResourceType[] = [
  ...Object.values(RESOURCE_TYPES),
  IPAM_BLOCKS,
  BLOCK_AFFINITIES,
  IPAM_HANDLES,
  IPAM_CONFIGS,
];

/** Applies the shipped CustomResourceDefinitions, and waits until the server serves them. */
export async function applyCrds(admin: KubernetesClient): Promise<void> {
  for (const name of globSync('*.yaml', { cwd: FOLDER }).sort()) {
    for (const { value } of readYaml(readFileSync(join(FOLDER, name), 'utf8'), name, 'CONFIG_INVALID')) {
      await admin.apply(CRDS, asObject(value), { fieldManager: 'test', force: true });
    }
  }
  for (const type of OUR_TYPES) await eventually(() => isServed(admin, type));
}

/** Deletes all objects of our kinds. */
export async function wipeOurs(admin: KubernetesClient): Promise<void> {
  await Promise.all(
    OUR_TYPES.map((resource) =>
      admin.call({
        verb: 'delete',
        resource,
        at: {},
        path: collectionPath(resource),
        body: jsonBody({ apiVersion: 'v1', kind: 'DeleteOptions' }),
      }),
    ),
  );
}

async function isServed(admin: KubernetesClient, type: ResourceType): Promise<boolean> {
  try {
    await list(admin, type, () => undefined);
    return true;
  } catch (error) {
    if (codeOf(error) === 'KIND_UNKNOWN') return false;
    throw error;
  }
}
